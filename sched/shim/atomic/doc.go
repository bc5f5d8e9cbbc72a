// Package atomic is a drop-in for the standard library's sync/atomic, under the control of
// package sched: the rewriter points instrumented packages at it. Every operation is a
// scheduling point, followed by the real operation. Types have the size and alignment of
// the real ones. Outside a run nothing is added but a check whether there is one.
package atomic

import (
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// point is the point before an operation on what is at that address.
func point(op sched.Op, at unsafe.Pointer) *sched.Task {
	t := sched.Here()
	if t != nil {
		t.Point(op, at)
	}
	return t
}

// wrote reports a CompareAndSwap that succeeded.
func wrote(t *sched.Task, swapped bool) bool {
	if swapped && t != nil {
		t.Wrote()
	}
	return swapped
}
