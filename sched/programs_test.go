package sched_test

import (
	"errors"
	"fmt"

	"github.com/poolproof/poolproof/sched"
	"github.com/poolproof/poolproof/sched/shim/atomic"
	"github.com/poolproof/poolproof/sched/shim/lang"
	"github.com/poolproof/poolproof/sched/shim/sync"
)

// program is a little program with a fault that shows under some schedules only.
type program struct {
	name        string
	body        func(s *sched.Scheduler) error
	kind        sched.FindingKind
	preemptions int // in the smallest schedule that shows it
}

func programs() []program {
	return []program{
		{"lost update", lostUpdate, sched.Failed, 1},
		{"lock order", lockOrder, sched.Stuck, 1},
		{"missed signal", missedSignal, sched.Stuck, 1},
		{"double close", doubleClose, sched.Panicked, 1},
		{"aba", aba, sched.Failed, 1},
		{"check then act", checkThenAct, sched.Failed, 1},
	}
}

// join starts fns as tasks and waits for them.
func join(s *sched.Scheduler, fns ...func()) {
	left := len(fns)
	for i, fn := range fns {
		s.Go(string(rune('a'+i)), func() {
			fn()
			left--
		})
	}
	s.Until("all done", func() bool { return left == 0 })
}

// lostUpdate reads and writes a number in two steps.
func lostUpdate(s *sched.Scheduler) error {
	n := 0
	add := func() {
		sched.Point("read")
		got := n
		sched.Point("write")
		n = got + 1
	}
	join(s, add, add)
	if n != 2 {
		return fmt.Errorf("n = %d, want 2", n)
	}
	return nil
}

// lockOrder takes two locks in either order.
func lockOrder(s *sched.Scheduler) error {
	var x, y sync.Mutex
	both := func(first, second *sync.Mutex) func() {
		return func() {
			first.Lock()
			defer first.Unlock()
			second.Lock()
			defer second.Unlock()
		}
	}
	join(s, both(&x, &y), both(&y, &x))
	return nil
}

// missedSignal looks whether to wait, and waits, without holding the lock in between.
func missedSignal(s *sched.Scheduler) error {
	var mu sync.Mutex
	c := sync.NewCond(&mu)
	ready := false
	join(s, func() {
		mu.Lock()
		wait := !ready
		mu.Unlock()
		if wait {
			mu.Lock()
			c.Wait()
			mu.Unlock()
		}
	}, func() {
		mu.Lock()
		ready = true
		c.Signal()
		mu.Unlock()
	})
	return nil
}

// doubleClose closes a channel if nobody has.
func doubleClose(s *sched.Scheduler) error {
	c := make(chan int)
	var closed atomic.Bool
	end := func() {
		if !closed.Load() {
			closed.Store(true)
			lang.Close(c)
		}
	}
	join(s, end, end)
	return nil
}

// aba pops from a stack of nodes that are used again.
func aba(s *sched.Scheduler) error {
	type node struct{ next *node }
	x, y := &node{}, &node{}
	x.next = y
	var top atomic.Pointer[node]
	top.Store(x)
	popped := map[*node]int{}
	pop := func() *node {
		for {
			n := top.Load()
			if n == nil {
				return nil
			}
			next := n.next
			if top.CompareAndSwap(n, next) {
				popped[n]++
				return n
			}
		}
	}
	push := func(n *node) {
		popped[n]--
		for {
			n.next = top.Load()
			if top.CompareAndSwap(n.next, n) {
				return
			}
		}
	}
	join(s, func() { pop() }, func() {
		first := pop()
		pop()
		if first != nil {
			push(first)
		}
	})
	for n := pop(); n != nil; n = pop() {
		if popped[n] > 1 {
			return errors.New("a node was popped twice")
		}
	}
	return nil
}

// checkThenAct takes from a channel that it has found not to be empty.
func checkThenAct(s *sched.Scheduler) error {
	c := make(chan int, 1)
	c <- 1
	empty := 0
	take := func() {
		sched.Point("look")
		if len(c) > 0 {
			sched.Point("there is one")
			got := lang.OnReceive(c)
			if lang.Select(true, nil, got) == lang.Default {
				empty++
			}
		}
	}
	join(s, take, take)
	if empty > 0 {
		return errors.New("it was empty")
	}
	return nil
}
