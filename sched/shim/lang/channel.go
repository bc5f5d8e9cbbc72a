package lang

import (
	"runtime"
	"unsafe"

	"github.com/poolproof/poolproof/sched"
)

// name is what names a channel in traces: the address of what it is.
func name[C any](c C) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&c)) }

// Send returns c <- v as a function of v, so that v may be anything that can be assigned
// to what c carries.
func Send[T any](c chan<- T) func(v T) {
	return func(v T) {
		t := sched.Here()
		if t == nil {
			c <- v
			return
		}
		t.Point(sched.OpSend, name(c))
		select {
		case c <- v:
			return
		default:
		}
		t.Block(sched.OpSend, name(c), func(kill <-chan struct{}) {
			select {
			case c <- v:
			case <-kill:
			}
		})
	}
}

// Receive is <-c.
func Receive[T any](c <-chan T) T {
	v, _ := Receive2(c)
	return v
}

// Receive2 is <-c with two results.
func Receive2[T any](c <-chan T) (v T, ok bool) {
	t := sched.Here()
	if t == nil {
		v, ok = <-c
		return v, ok
	}
	t.Point(sched.OpReceive, name(c))
	select {
	case v, ok = <-c:
		return v, ok
	default:
	}
	t.Block(sched.OpReceive, name(c), func(kill <-chan struct{}) {
		select {
		case v, ok = <-c:
		case <-kill:
		}
	})
	return v, ok
}

// Close is close(c).
func Close[T any](c chan<- T) {
	if t := sched.Here(); t != nil {
		t.Point(sched.OpClose, name(c))
	}
	close(c)
}

// ChannelRange is a range over a channel.
type ChannelRange[T any] struct {
	V T // what was received last
	c <-chan T
}

// OverChannel begins a range over c.
func OverChannel[T any](c <-chan T) *ChannelRange[T] { return &ChannelRange[T]{c: c} }

// Next receives the next value; false if c is closed and empty.
func (r *ChannelRange[T]) Next() (ok bool) {
	r.V, ok = Receive2(r.c)
	return ok
}

// Case is one case of a select.
type Case interface {
	try() bool
}

// ReceiveCase is a case that receives.
type ReceiveCase[T any] struct {
	C  <-chan T
	V  T
	OK bool
}

// OnReceive returns a case that receives from c.
func OnReceive[T any](c <-chan T) *ReceiveCase[T] { return &ReceiveCase[T]{C: c} }

func (r *ReceiveCase[T]) try() bool {
	select {
	case r.V, r.OK = <-r.C:
		return true
	default:
		return false
	}
}

// SendCase is a case that sends.
type SendCase[T any] struct {
	C chan<- T
	V T
}

// OnSend returns a case that sends to c, as a function of what is sent.
func OnSend[T any](c chan<- T) func(v T) *SendCase[T] {
	return func(v T) *SendCase[T] { return &SendCase[T]{C: c, V: v} }
}

func (s *SendCase[T]) try() bool {
	select {
	case s.C <- s.V:
		return true
	default:
		return false
	}
}

// Default is what Select returns if no case was ready and there is a default.
const Default = -1

// Killed is what the function passed to Select returns when its channel is closed. Select
// does not return it.
const Killed = -2

// Select returns the number of the case that was served, or Default. block is the select
// statement itself, with one more case that receives from kill.
func Select(hasDefault bool, block func(kill <-chan struct{}) int, cases ...Case) int {
	t := sched.Here()
	if t == nil {
		return block(nil)
	}
	t.Point(sched.OpSelect, nil)
	if t.Dying() && !hasDefault {
		served := block(t.Killed())
		if served == Killed {
			runtime.Goexit()
		}
		return served
	}
	n := len(cases)
	first := t.Choose(sched.ReadyCase, n)
	for k := range n {
		i := (first + k) % n
		if cases[i].try() {
			// Had the search begun at any other case between first and i it would have ended
			// here too.
			prune(t, n, first+k+1)
			t.Wrote()
			return i
		}
	}
	prune(t, n, n)
	if hasDefault {
		return Default
	}
	served := Killed
	t.Block(sched.OpSelect, nil, func(kill <-chan struct{}) { served = block(kill) })
	return served
}

// prune says which other cases the search could have begun with to the same effect, if
// there was a choice.
func prune(t *sched.Task, n, next int) {
	if n > 1 {
		t.Prune(min(next, n))
	}
}
