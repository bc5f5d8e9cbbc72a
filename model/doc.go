// Package model is the reference for package pool: a pure machine that says what a pool
// may do, against which real pools are judged. It shares no code with them.
//
// A [State] is a value: the workers and their phases, the table of sessions, the queue,
// the back-off, and what the callers do. [Step] gives every way in which an operation can
// end: the state that follows and the [Events] that show. Hooks are not run: how they end
// is an operation like any other, and so is the passing of one tick of time. Where the
// promises of the pool leave it a choice, there are several ways.
//
//	cfg := &model.Config{MaxSize: 2, Clients: 3, Sessions: 2, Offer: model.OfferAll()}
//	report, err := model.Explore(cfg, model.Bounds{})
//	...
//	fmt.Println(report)
//
// There are three uses. [Follow] runs beside a pool in lock step: it keeps the states in
// which the pool could be, and tells how what was seen differs from all that could be.
// [Explore] visits every state of a small pool, checks each against the promises with
// [Check], and looks for waiters that are never served. [Coverage] counts which of the
// situations that exist a run has met, and leads a run to the others.
//
// The promises are cited by the numbers I1 to I18 under which package pool makes them.
//
// All functions may be called concurrently; a [Coverage] is for one goroutine at a time.
package model
