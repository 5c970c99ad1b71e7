//! How fast people and arrays are made, and arrays of their text, on one core: `cargo bench --bench generators`; the figure is `thrpt`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lapwing::source::arrays::{ArraySpec, Arrays, Dtype};
use lapwing::source::people::{Locale, People};
use lapwing_wire::array::ArrayWriter;
use lapwing_wire::position::Offset;
use lapwing_wire::time::WallTime;
use lapwing_wire::topic::TopicName;

fn people(c: &mut Criterion) {
    let mut group = c.benchmark_group("people");
    group.throughput(Throughput::Elements(1));
    for locale in [Locale::En, Locale::De, Locale::Mixed] {
        group.bench_function(locale.as_str(), |bencher| {
            let (mut people, mut out) = (People::new(locale, 1, 0), Vec::new());
            bencher.iter(|| {
                out.clear();
                people.write_next(&mut out);
                out.len()
            });
        });
    }
    group.finish();
}

fn arrays(c: &mut Criterion) {
    let wide = Some(1 << 62);
    let cases = [
        ("int64 below 100", Dtype::Int64, None),
        ("int64 below 2^62", Dtype::Int64, wide),
        ("uint8 below 100", Dtype::Uint8, None),
        ("float64", Dtype::Float64, None),
    ];
    const ELEMENTS: u64 = 1_000;
    let mut group = c.benchmark_group("arrays");
    group.throughput(Throughput::Elements(ELEMENTS));
    for (name, dtype, high) in cases {
        let shape = ELEMENTS.to_string().parse().expect("a number is a shape");
        let spec = ArraySpec::new(shape, dtype, None, high, 1).expect("1,000 elements fit a message");
        group.bench_function(format!("{name}, values"), |bencher| {
            let mut arrays = Arrays::new(&spec, 1, 0);
            bencher.iter(|| {
                std::hint::black_box(arrays.next_values());
            });
        });
        group.bench_function(format!("{name}, JSON"), |bencher| {
            let (mut arrays, mut out) = (Arrays::new(&spec, 1, 0), Vec::new());
            bencher.iter(|| {
                out.clear();
                arrays.write_next(&mut out);
                out.len()
            });
        });
    }
    for (name, dtype, high) in cases {
        let shape = ELEMENTS.to_string().parse().expect("a number is a shape");
        let spec = ArraySpec::new(shape, dtype, None, high, 1).expect("1,000 elements fit a message");
        group.bench_function(format!("{name}, JSON to a binary frame"), |bencher| {
            let writer = ArrayWriter::new(TopicName::parse("arrays").expect("valid"), 0, dtype);
            let (mut json, mut out) = (Vec::new(), Vec::new());
            Arrays::new(&spec, 1, 0).write_next(&mut json);
            bencher.iter(|| {
                out.clear();
                assert!(writer.write(Offset::ZERO, WallTime::default(), &json, &mut out));
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, people, arrays);
criterion_main!(benches);
