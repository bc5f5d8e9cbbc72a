// Package lang has what rewritten code calls in place of parts of the language and of a few
// functions of the standard library: channel operations, select, go, range over a channel
// or a map, time.AfterFunc, time.Sleep, context.AfterFunc and runtime.Gosched. Outside a
// run each does what it stands for.
//
// A channel stays a real channel. An operation first tries; if it would block, it blocks
// for real, and when it has been served it waits at a gate until it is chosen to go on.
package lang
