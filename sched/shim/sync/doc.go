// Package sync is a drop-in for the standard library's sync, under the control of package
// sched: the rewriter points instrumented packages at it. Every operation is a scheduling
// point, and waiting is a gate with a condition, never a real lock that is contended: a
// testing/synctest bubble does not come to rest while a goroutine waits for one.
//
// Used by goroutines that are no tasks of a run, the types are the real ones with a little
// bookkeeping: zero values are ready, copying is forbidden, misuse panics. An object may
// be used by both, one after the other.
//
// What differs from the real types: in a run, misuse that would end the program, such as
// unlocking an unlocked Mutex, panics. A Pool gives back what was put last, in the run in
// which it was put, and drops nothing. Map.Range goes through the keys in an order that is
// the same in each run with the same choices.
package sync
