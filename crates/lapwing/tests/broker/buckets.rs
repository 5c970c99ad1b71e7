//! What all servers share beside the streams.

use nats_cluster::Settings;

use crate::stage::Stage;
use crate::support::eventually;

#[test]
fn buckets_get_the_replicas_that_a_later_topic_asks_for_and_keep_them() {
    let Some(stage) = Stage::set("bucket_replicas", &Settings::three()) else {
        return;
    };
    let mut nats = stage.nats.client().expect("it answers");
    let mut replicas = || {
        let found = nats.stream("KV_lapwing_histories").expect("it answers");
        found.expect("a bucket")["config"]["num_replicas"].clone()
    };
    let _one = stage.serve("feed=push", &[]);
    assert_eq!(replicas(), 1);
    let _three = stage.serve("orders=push?replicas=3", &[]);
    eventually("it has more", || replicas() == 3);
    let _again = stage.serve("feed=push", &["--server-name", "again"]);
    assert_eq!(replicas(), 3);
}
