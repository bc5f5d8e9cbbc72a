// Package rewrite instruments Go source: it makes copies of a package's files in which
// every operation that goroutines can see of each other is a scheduling point of package
// sched.
//
// What is rewritten:
//
//   - imports of sync, sync/atomic, math/rand and math/rand/v2: to the drop-ins below
//     sched/shim;
//   - send, receive, close, range over a channel, select and go: to calls of
//     sched/shim/lang;
//   - time.AfterFunc, time.Sleep, context.AfterFunc and runtime.Gosched, called or not: to
//     the functions that stand for them;
//   - range over a map, and assignments to elements of maps whose keys have no order of
//     their own.
//
// The text is edited in place, guided by the types: lines stay where they are, and line
// directives make positions those of the original, in stacks and in compilers' messages.
//
// What cannot be done is refused with the file and the line: cgo, linknames to the
// runtime's semaphores, and passing types of sync to packages that are not instrumented.
package rewrite
