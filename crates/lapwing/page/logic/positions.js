// Where the page is in each topic: an epoch and the offset that it wants next.

export class Positions {
  #places = new Map();

  // What `subscribe` says: where it was, or else `from`.
  request(topic, from) {
    const place = this.#places.get(topic);
    return place === undefined ? { from } : { epoch: place.epoch, offset: place.offset };
  }

  set(topic, epoch, offset) {
    this.#places.set(topic, { epoch, offset, live: offset });
  }

  // Whether it has a place there: a message that comes before is of a subscription that was given up.
  has(topic) {
    return this.#places.has(topic);
  }

  // From here on it begins there anew.
  forget(topic) {
    this.#places.delete(topic);
  }

  // Gives whether this is another history than before.
  onSubscribed({ topic, epoch, from, next }) {
    const before = this.#places.get(topic);
    this.#places.set(topic, { epoch, offset: from, live: next });
    return before !== undefined && before.epoch !== epoch;
  }

  onGap({ topic, to }) {
    const place = this.#places.get(topic);
    if (place !== undefined) place.offset = to;
  }

  // Gives whether the message was appended after the page came to the topic; what was retained says nothing about pace.
  onMessage(topic, offset) {
    const place = this.#places.get(topic);
    if (place === undefined) return true;
    place.offset = offset + 1;
    return offset >= place.live;
  }
}
