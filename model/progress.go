package model

import "fmt"

// checkProgress reports the first state from which rest cannot be reached: no waiter, no
// lease, no running hook, no back-off. Only releases, hooks that succeed, and time may help.
//
// It walks from each state along such operations, depth first, until it meets a state that
// is known to reach rest; then so does all of its path. As most walks end after a step or
// two, nothing but a bit for each state is kept.
func (x *explorer) checkProgress() {
	w := walk{explorer: x, good: make([]uint64, (x.known.n+63)/64), seen: map[int]bool{}}
	for n := range x.known.n {
		if !w.reachesRest(n) {
			k := x.known.at(n)
			s := x.layout.unpack(&k)
			err := fmt.Errorf("I5: with %d waiting, releases, hooks and time cannot bring the pool to rest", s.waiting)
			x.fail(err, n, nil)
			return
		}
	}
}

type walk struct {
	*explorer
	good []uint64 // states that reach rest
	seen map[int]bool
	path []walkStep
}

// walkStep is a state on the way, and the successors that have not been tried.
type walkStep struct {
	n    int
	left []int
}

func (w *walk) isGood(n int) bool { return w.good[n/64]>>(n%64)&1 == 1 }

func (w *walk) reachesRest(from int) bool {
	if w.isGood(from) {
		return true
	}
	clear(w.seen)
	w.seen[from] = true
	w.path = append(w.path[:0], w.look(from))
	for len(w.path) > 0 {
		last := &w.path[len(w.path)-1]
		if last.left == nil || w.isGood(last.n) {
			for _, step := range w.path {
				w.good[step.n/64] |= 1 << (step.n % 64)
			}
			return true
		}
		if len(last.left) == 0 {
			w.path = w.path[:len(w.path)-1]
			continue
		}
		n := last.left[0]
		last.left = last.left[1:]
		if !w.seen[n] {
			w.seen[n] = true
			w.path = append(w.path, w.look(n))
		}
	}
	return false
}

// look returns the successors of a state; nil if it is at rest itself or one of them is
// known to reach rest.
func (w *walk) look(n int) walkStep {
	k := w.known.at(n)
	s := w.layout.unpack(&k)
	if s.resting() || w.isGood(n) {
		return walkStep{n: n}
	}
	step := walkStep{n: n, left: []int{}}
	w.ops = w.layout.ops(&s, w.ops[:0])
	for _, op := range w.ops {
		if !op.helps() {
			continue
		}
		w.nexts = w.m.appendStep(w.nexts[:0], &s, op)
		for i := range w.nexts {
			k := w.layout.pack(&w.nexts[i].State)
			next := w.known.find(&k)
			if w.isGood(next) {
				step.left = nil
				return step
			}
			step.left = append(step.left, next)
		}
	}
	return step
}

// resting says that nobody waits, holds a lease or is at work.
func (s *State) resting() bool {
	for i := range s.live {
		if s.workers[i].phase != phaseIdle {
			return false
		}
	}
	return s.waiting == 0 && s.backoff == 0
}

// helps says that an operation belongs to healing.
func (op Op) helps() bool {
	switch op.Kind {
	case OpRelease, OpStarted, OpStopped, OpChecked, OpTold, OpTick:
		return true
	}
	return false
}
