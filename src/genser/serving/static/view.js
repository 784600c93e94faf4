// The part of a recording that is shown: from one time to another, in seconds.

const SHORTEST = 1; // s
const LONGEST_AT_ONCE = 60; // s that are shown at first of a longer recording
const FIRST_SHARE = 1 / 40; // of a very long recording that is shown at first

export class View {
  constructor(onChange) {
    this.onChange = onChange;
    this.duration = this.from = 0;
    this.to = SHORTEST;
  }

  get span() { return this.to - this.from; }

  get isWhole() { return this.span >= this.duration; }

  open(duration) {
    this.duration = Math.max(duration, 0.1);
    this.set(0, Math.min(this.duration, Math.max(LONGEST_AT_ONCE, this.duration * FIRST_SHARE)));
  }

  /** Show all of a recording that grows. */
  grow(duration) {
    this.duration = Math.max(duration, 0.1);
    this.set(0, this.duration);
  }

  showAll() { this.set(0, this.duration); }

  zoom(factor, at = (this.from + this.to) / 2) {
    const span = Math.min(Math.max(this.span / factor, Math.min(SHORTEST, this.duration)), this.duration);
    const share = (at - this.from) / this.span;
    this.set(at - share * span, at + (1 - share) * span);
  }

  move(seconds) { this.set(this.from + seconds, this.to + seconds); }

  centre(time) { this.move(time - (this.from + this.to) / 2); }

  set(from, to) {
    const span = Math.min(to - from, this.duration);
    this.from = Math.min(Math.max(from, 0), this.duration - span);
    this.to = this.from + span;
    this.onChange();
  }
}
