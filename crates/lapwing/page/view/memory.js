// Small choices of a reader, kept by the browser where it lets a page keep something.

export function remembered(key) {
  try {
    return localStorage.getItem(`lapwing.${key}`) ?? undefined;
  } catch {
    return undefined;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`lapwing.${key}`, value);
  } catch {
    // It holds while the page is open.
  }
}
