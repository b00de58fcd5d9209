// Package chromium drives a real Chromium as people use hadir: devices with
// storage of their own, pages on them, taps, a place, a connection that goes away.
// The browser tests, the measurement of frames and the screenshots share it.
//
// # Invariants
//
//   - Two devices share nothing: no cookie, no storage, no service worker.
//   - Nothing sleeps for a fixed time: conditions are awaited until a deadline.
//   - What a page complains of (an exception, a breach of the content security
//     policy) is kept, so that a test can say that there was none.
package chromium
