package model

import "fmt"

// Check returns an error that names the broken promise if s is no state that a pool at
// rest may be in.
func Check(cfg *Config, s *State) error {
	for _, check := range [...]func(*Config, *State) error{checkLeases, checkSizes, checkWaiters, checkSessions, checkHooks, checkClosing} {
		if err := check(cfg, s); err != nil {
			return err
		}
	}
	return nil
}

// checkLeases: I1, and I3 as far as it concerns leases.
func checkLeases(_ *Config, s *State) error {
	var holders [MaxWorkerSlots]int
	for i := range s.clients {
		c := &s.clients[i]
		if c.phase != clientHolding {
			continue
		}
		if c.worker >= s.live || s.workers[c.worker].phase != phaseLeased {
			return fmt.Errorf("I3: client %d holds a worker that is not leased", i+1)
		}
		holders[c.worker]++
		if s.workers[c.worker].holder != uint8(i)+1 {
			return fmt.Errorf("I1: client %d holds worker %d, which is not its", i+1, s.workers[c.worker].id)
		}
	}
	for i := range s.live {
		w := &s.workers[i]
		switch {
		case holders[i] > 1:
			return fmt.Errorf("I1: worker %d has %d leases", w.id, holders[i])
		case (w.phase == phaseLeased) != (holders[i] == 1):
			return fmt.Errorf("I1: worker %d is %s and has %d leases", w.id, phaseNames[w.phase], holders[i])
		}
	}
	return nil
}

// checkSizes: I2, and I5 as far as it concerns starts.
func checkSizes(cfg *Config, s *State) error {
	inFlight := s.count(phaseStarting)
	switch {
	case inFlight > cfg.startConcurrency():
		return fmt.Errorf("I2: %d starts are in flight", inFlight)
	case s.closing != closingNot:
		return nil
	case s.count(phaseIdle) > 0 && s.present() > int(s.most):
		return fmt.Errorf("I16: a worker is idle while %d are present and MaxSize is %d", s.present(), s.most)
	case s.delay == 0 && s.live < s.least && inFlight < cfg.startConcurrency():
		return fmt.Errorf("I5: %d workers are live, MinSize is %d, and no start begins", s.live, s.least)
	}
	return nil
}

// checkWaiters: I5, I7 and I8.
func checkWaiters(cfg *Config, s *State) error {
	if s.waiting == 0 {
		return nil
	}
	if s.closing != closingNot {
		return fmt.Errorf("I13: client %d waits although closing has begun", s.queue[0]+1)
	}
	hope := s.delay > 0 || int(s.live) >= int(s.most)
	for i := range s.live {
		hope = hope || s.workers[i].phase != phaseIdle
	}
	for i, c := range s.queue[:s.waiting] {
		if cfg.MaxWaiters > 0 && i >= cfg.MaxWaiters+MaxWorkerSlots {
			return fmt.Errorf("I7: %d clients wait", s.waiting)
		}
		id := s.clients[c].session
		for slot := range s.live {
			if s.workers[slot].phase == phaseIdle && s.mayUse(cfg, id, slot) {
				return fmt.Errorf("I5: client %d waits while worker %d is idle", c+1, s.workers[slot].id)
			}
		}
		if id != 0 && s.session(id).status == sessionLost {
			return fmt.Errorf("I8: client %d waits for a lost session", c+1)
		}
		if !s.isBound(id) && !hope {
			return fmt.Errorf("I5: client %d waits and no start is wanted", c+1)
		}
	}
	return nil
}

// checkSessions: I8, I9, I17 and I18.
func checkSessions(cfg *Config, s *State) error {
	var bindings [MaxWorkerSlots]uint8
	for i, e := range s.sessions {
		id := Session(i + 1)
		switch e.status {
		case sessionUnbound:
			if !s.hasWaiter(id) {
				return fmt.Errorf("I9: session %v is neither bound nor waited for", id)
			}
		case sessionBound:
			if e.worker >= s.live || !s.workers[e.worker].phase.present() || s.workers[e.worker].phase == phaseStarting {
				return fmt.Errorf("I8: session %v is bound to a worker that is not there", id)
			}
			bindings[e.worker]++
			if inUse := s.hasLease(id) || s.hasWaiter(id); cfg.SessionTTL > 0 && inUse == (e.ttl > 0) {
				return fmt.Errorf("I9: session %v is in use: %v, and ends in %d", id, inUse, e.ttl)
			}
		case sessionLost:
			if cfg.Affinity != Strict {
				return fmt.Errorf("I8: session %v is lost", id)
			}
		}
	}
	for i := range s.live {
		w := &s.workers[i]
		switch {
		case w.bindings != bindings[i]:
			return fmt.Errorf("I8: worker %d has %d bindings, and counts %d", w.id, bindings[i], w.bindings)
		case cfg.MaxSessionsPerWorker > 0 && int(w.bindings) > cfg.MaxSessionsPerWorker:
			return fmt.Errorf("I18: worker %d has %d bindings", w.id, w.bindings)
		case w.flags&flagRetired != 0 && (w.phase != phaseLeased || w.bindings > 0):
			return fmt.Errorf("I16: worker %d goes on after Retire", w.id)
		case w.phase == phaseIdle && s.past(cfg, w) && (cfg.Affinity != Strict || w.bindings == 0):
			return fmt.Errorf("I17: worker %d is past its limits and idle", w.id)
		}
	}
	for i := range s.clients {
		c := &s.clients[i]
		if cfg.Affinity == Strict && c.phase == clientHolding && s.isBound(c.session) && s.session(c.session).worker != c.worker {
			return fmt.Errorf("I8: client %d holds a worker that its session is not bound to", i+1)
		}
	}
	return nil
}

// checkHooks: I9 and I12.
func checkHooks(cfg *Config, s *State) error {
	inCheck, all := 0, 0
	for i := range s.live {
		w := &s.workers[i]
		switch w.phase {
		case phaseIdle:
			all++
			if w.debts != 0 {
				return fmt.Errorf("I9: worker %d is idle and has not been told", w.id)
			}
		case phaseTelling:
			all++
			if w.debts == 0 {
				return fmt.Errorf("I9: worker %d is told nothing", w.id)
			}
		case phaseChecking:
			all++
			inCheck++
		}
		if int(w.failures) >= cfg.checkFailures() {
			return fmt.Errorf("I12: worker %d has failed %d checks", w.id, w.failures)
		}
	}
	if inCheck > (all+3)/4 {
		return fmt.Errorf("I12: %d of %d idle workers are checked", inCheck, all)
	}
	return nil
}

// checkClosing: I13.
func checkClosing(_ *Config, s *State) error {
	if s.closing == closingNot {
		return nil
	}
	for i := range s.live {
		switch w := &s.workers[i]; w.phase {
		case phaseStarting, phaseIdle, phaseChecking, phaseTelling:
			return fmt.Errorf("I13: worker %d is %s although closing has begun", w.id, phaseNames[w.phase])
		case phaseLeased:
			if s.closing == closingReturns {
				return fmt.Errorf("I13: closing has returned and worker %d is leased", w.id)
			}
		}
	}
	switch {
	case s.known() > 0:
		return fmt.Errorf("I13: closing keeps %d sessions", s.known())
	case s.live == 0 && s.closing == closingBegun:
		return fmt.Errorf("I13: no worker is live and closing does not return")
	}
	return nil
}

// checkStep returns an error that names the promise that a change from s to t by op breaks.
func checkStep(cfg *Config, s, t *State, op Op) error {
	if t.began > s.began && (t.live > t.most || t.closing != closingNot) {
		return fmt.Errorf("I2: a start begins, %d workers are live, MaxSize is %d", t.live, t.most)
	}
	if t.live < s.live+uint8(t.began-s.began) && op.Kind != OpStopped && op.Kind != OpStartFailed {
		return fmt.Errorf("I11: a worker is gone although its hook has not returned")
	}
	if t.waiting == 0 && cfg.Affinity != Strict {
		return nil
	}
	if s.queue == t.queue && s.waiting >= t.waiting && s.sessions == t.sessions {
		return nil
	}
	place := uint8(0) // I7: those who wait were there before, in the same order
	for _, c := range t.queue[:t.waiting] {
		for place < s.waiting && s.queue[place] != c {
			place++
		}
		if place >= s.waiting && (op.Kind != OpAcquire || c != uint8(op.Client-1)) {
			return fmt.Errorf("I7: client %d has lost its place in the queue", c+1)
		}
	}
	if cfg.MaxWaiters > 0 && t.waiting > s.waiting {
		room := cfg.MaxWaiters + s.count(phaseStarting) + max(0, int(s.most)-int(s.live))
		if int(s.waiting) >= room {
			return fmt.Errorf("I7: a client waits although the queue is full")
		}
	}
	if cfg.Affinity != Strict || s.sessions == t.sessions || t.closing != closingNot ||
		op.Kind == OpEndSession || op.Kind == OpTick {
		return nil
	}
	for i, e := range t.sessions {
		if err := checkBinding(s, t, Session(i+1), e); err != nil {
			return err
		}
	}
	return nil
}

// checkBinding: under Strict a binding changes only to lost, or ends with the session (I8).
func checkBinding(s, t *State, id Session, e session) error {
	before := s.session(id)
	switch {
	case before.status == sessionLost && e.status != sessionLost:
		return fmt.Errorf("I8: session %v was lost and is %s", id, sessionStatusNames[e.status])
	case before.status == sessionBound && e.status != sessionBound && e.status != sessionLost:
		return fmt.Errorf("I8: session %v was bound and is %s", id, sessionStatusNames[e.status])
	case before.status == sessionBound && e.status == sessionBound && s.workers[before.worker].id != t.workers[e.worker].id:
		return fmt.Errorf("I8: session %v moves from worker %d to %d", id, s.workers[before.worker].id, t.workers[e.worker].id)
	}
	return nil
}
