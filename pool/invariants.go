package pool

import "fmt"

// mustHold panics if the state at rest breaks a rule, naming it, or if a deadline has no
// timer. It is called under the lock after every change under the build tag invariants.
func (p *Pool[T]) mustHold() {
	defer func() {
		if broken := recover(); broken != nil {
			p.mu.Unlock()
			panic(broken)
		}
	}()
	p.st.mustHold()
	if p.st.alarm != p.armed {
		panic(fmt.Sprintf("pool: I9: a deadline at %v, the timer at %v", p.st.alarm, p.armed))
	}
}

func (st *state) mustHold() {
	rule := func(holds bool, id string, args ...any) {
		if !holds {
			panic(fmt.Sprintf("pool: %s broken at change %d: %s", id, st.seq, fmt.Sprint(args...)))
		}
	}
	var n [gone + 1]int
	bindings, telling, due := 0, 0, 0
	holders := map[*session]*worker{} // by the lists, for a binding may be corrupt and not noticed yet
	for _, w := range st.live {
		n[w.phase]++
		bindings += w.bindings
		if w.running == hookTell && w.phase == checking {
			telling++
		}
		if w.due && w.phase == idle {
			due++
		}
		held := 0
		for s := w.bound; s != nil; s = s.wnext {
			held++
			rule((s.w == w || !s.sound()) && s.check == s.fit(w) && !s.lost, "I8", "session ", s.id, " is listed by worker ", w.id)
			holders[s] = w
		}
		rule(held == w.bindings, "I15", "worker ", w.id, " lists ", held, " bindings, counts ", w.bindings)
		rule(w.phase != stopping || w.bindings == 0 && w.waiters.head == nil, "I16", "worker ", w.id, " stops with bindings or waiters")
		rule(w.phase != idle || w.waiters.head == nil, "I5", "worker ", w.id, " is idle and has waiters")
	}
	rule(n[gone] == 0, "I15", "a worker that is gone is listed")
	rule(n[starting] == st.starting && n[idle] == st.idle() && n[checking] == st.checking &&
		n[leased] == st.leased && n[stopping] == st.stopped && telling == st.telling && due == st.due,
		"I15", "phases ", n, ", counted ", st.starting, st.idle(), st.checking, st.leased, st.stopped, st.telling, st.due)
	rule(bindings == st.bindings, "I15", bindings, " bindings, counted ", st.bindings)
	for _, s := range st.sessions {
		rule(s.check == s.fit(holders[s]), "I8", "session ", s.id, " has a binding that no worker lists")
	}
	rule(st.present() <= st.MaxSize || st.idle() == 0, "I16", "a worker is idle beyond MaxSize")
	for x := st.unbound.head; x != nil; x = x.next {
		rule(x.parked && !st.closing, "I13", "a waiter outlives closing")
		rule(x.session != nil && !x.session.sound() || st.choose(x.session) == nil, "I5", "a waiter and an idle worker that it may use")
	}
	anonymous, unboundSessions, boundPrefer := 0, map[*session]bool{}, 0
	for x := st.unbound.head; x != nil; x = x.next {
		switch s := x.session; {
		case s == nil:
			anonymous++
		case holders[s] == nil:
			unboundSessions[s] = true
		default:
			boundPrefer++
		}
	}
	rule(anonymous == st.anonymous && len(unboundSessions) == st.unboundSessions && boundPrefer == st.boundPrefer,
		"I15", "waiters ", anonymous, len(unboundSessions), boundPrefer, ", counted ", st.anonymous, st.unboundSessions, st.boundPrefer)
}
