package model

import "time"

// began takes in that a call is about to reach the pool.
func (s *PromiseState) began(e *PromiseEvent) *PromiseViolation {
	c := promiseCall{
		PromiseEvent: *e, rests: s.rests, reset: s.resetDone, failures: s.failures,
		ahead: s.Waiting(), cancelled: e.Done, late: s.closed,
	}
	switch e.Op {
	case PromiseAcquire, PromiseTry:
		s.asked(&c)
	case PromiseRelease, PromiseDiscard:
		s.givenBack(e)
	case PromiseEndSession:
		x := s.session(e.Session)
		x.bound = 0
		x.ending++
		x.unsure = x.asking > 0
	case PromiseResize:
		s.resizes++
		s.resizeClear = s.resizes == 1
		s.capLow, s.capHigh = min(s.capLow, e.Max), max(s.capHigh, e.Max)
		s.capStep = max(s.capStep, s.capHigh)
	case PromiseReset:
		s.resetsBegun++
		c.Max = s.resetsBegun
		for i := range s.resources {
			if s.resources[i].phase == promiseCreating {
				s.resources[i].across = true
			}
		}
	case PromiseClose, PromiseShutdown:
		s.closing = true
		s.forced = s.forced || e.Op == PromiseShutdown && e.Done
	}
	for i := range s.open { // what those under way could have had may now go to this call
		s.open[i].room, s.open[i].preferred = false, 0
		if e.Op == PromiseAcquire { // which may be in the queue first
			s.open[i].ahead++
		}
	}
	s.open = append(s.open, c)
	return nil
}

// asked notes what an acquire could have had as it began.
func (s *PromiseState) asked(c *promiseCall) {
	if c.Session != "" {
		x := s.session(c.Session)
		x.asking++
		x.unsure = x.unsure || x.ending > 0
		c.pinned = x.bound
	}
	still := !s.cfg.Loose && s.still && s.Hooks() == 0
	for i := range s.open {
		still = still && s.open[i].parked != 0
	}
	c.room = still && s.held < s.capLow && !s.excused(c.At)
	if x := s.sessions[c.Session]; c.Session != "" && x != nil && still {
		if r := s.resource(x.bound); r != nil && r.phase == promiseAlive && r.holder == 0 && !r.discarded {
			c.preferred = x.bound
		}
	}
}

// excused reports whether a create failed so lately that others may suffer from it.
func (s *PromiseState) excused(at time.Duration) bool {
	return s.failedAt >= 0 && at-s.failedAt <= s.cfg.Patience
}

// givenBack ends the lease that e gives back.
func (s *PromiseState) givenBack(e *PromiseEvent) {
	r := s.resource(e.Resource)
	if r == nil || r.holder != e.Lease {
		return
	}
	r.holder = 0
	s.held--
	r.idleAt, r.idleIn = e.At, s.rests
	r.discarded = e.Op == PromiseDiscard
	for _, x := range s.sessions {
		if x.bound == r.id {
			x.used = e.At
		}
	}
}

// ended takes in that a call has come back.
func (s *PromiseState) ended(e *PromiseEvent) *PromiseViolation {
	c := s.take(e)
	if v := s.panicked(&c, e); v != nil {
		return v
	}
	switch c.Op {
	case PromiseAcquire, PromiseTry:
		return s.answered(&c, e)
	case PromiseEndSession:
		x := s.session(c.Session)
		x.ending--
		x.bound = 0
	case PromiseResize:
		s.resized(&c, e)
	case PromiseReset:
		s.resetDone = max(s.resetDone, c.Max)
	case PromiseClose, PromiseShutdown:
		return s.closedNow(&c, e)
	case PromiseReopen:
		if e.Outcome == PromiseGranted && !e.Panicked {
			s.closing, s.closed, s.forced = false, false, false
		}
	}
	return nil
}

// panicked judges a call that panicked, and a second release that did not.
func (s *PromiseState) panicked(c *promiseCall, e *PromiseEvent) *PromiseViolation {
	wanted := c.Op == PromiseAgain && s.cfg.Spec.DoubleRelease == PromisePanics
	switch {
	case wanted && !e.Panicked:
		return promiseBroken("I14", "client %d: a second release did not panic", c.Client)
	case !e.Panicked || wanted:
		return nil
	case e.Injected && s.cfg.Spec.HookPanics:
		return nil
	case c.Op == PromiseAgain:
		return promiseBroken("I14", "client %d: a second release panicked: %s", c.Client, e.Text)
	}
	return promiseBroken("panic", "client %d: %s panicked: %s", c.Client, c.Op, e.Text)
}

// resized settles the capacity once no other resize runs.
func (s *PromiseState) resized(c *promiseCall, e *PromiseEvent) {
	s.resizes--
	if s.resizes == 0 && s.resizeClear && e.Outcome == PromiseGranted && !e.Panicked {
		s.capLow = c.Max
		if !s.cfg.Spec.ShrinksLate || c.Max > s.capHigh {
			s.capHigh = c.Max
		}
	}
	s.resizeClear = false
}

// closedNow judges the return of a Close or Shutdown.
func (s *PromiseState) closedNow(c *promiseCall, e *PromiseEvent) *PromiseViolation {
	if e.Panicked {
		return nil
	}
	s.closed = true
	if !s.cfg.Spec.CloseWaits || s.forced {
		return nil
	}
	if s.held > 0 {
		return promiseBroken("I13", "client %d: %s returned while %d leases were out", c.Client, c.Op, s.held)
	}
	if s.inCreate > 0 {
		return promiseBroken("I13", "client %d: %s returned while a create was running", c.Client, c.Op)
	}
	for i := range s.resources {
		r := &s.resources[i]
		if r.phase == promiseAlive || r.phase == promiseDestroying && !s.cfg.Spec.DestroyFreesEarly {
			return promiseBroken("I13", "client %d: %s returned before resource %d was destroyed", c.Client, c.Op, r.id)
		}
	}
	return nil
}

// answered judges the outcome of an acquire or try.
func (s *PromiseState) answered(c *promiseCall, e *PromiseEvent) *PromiseViolation {
	if c.Session != "" {
		s.session(c.Session).asking--
	}
	failed := s.failures > c.failures
	ended := c.cancelled || c.Deadline > 0 && e.At >= c.Deadline
	timeout := s.cfg.Spec.AcquireTimeout
	timedOut := timeout > 0 && e.At-c.At >= timeout
	switch {
	case e.Panicked: // one that was injected
		return nil
	case e.Outcome == PromiseGranted:
		return s.grant(c, e)
	case s.closing || timedOut || ended:
		return nil
	case e.Outcome == PromiseSessionLost:
		return s.lost(c)
	case c.Op == PromiseTry:
		return nil
	case e.Outcome == PromiseCancelled && !failed:
		return promiseBroken("I6", "client %d: cancelled although its context had not ended%s", c.Client, promiseSaying(e))
	case e.Outcome == PromiseClosed:
		return promiseBroken("I13", "client %d: refused as closed, but nothing had closed the pool%s", c.Client, promiseSaying(e))
	case e.Outcome == PromiseCreateFailed && !failed && !s.excused(c.At):
		return promiseBroken("I10", "client %d: told that a create failed, but none had%s", c.Client, promiseSaying(e))
	case e.Outcome == PromiseRefused && !failed:
		return s.refused(c, e)
	}
	return nil
}

// refused judges a refusal without a reason of its own.
func (s *PromiseState) refused(c *promiseCall, e *PromiseEvent) *PromiseViolation {
	spec := &s.cfg.Spec
	switch {
	case spec.RefusesWhenFull && c.room:
		return promiseBroken("I5", "client %d: refused while only %d of %d were taken%s", c.Client, s.held, s.capLow, promiseSaying(e))
	case spec.RefusesWhenFull:
		return nil
	case spec.MaxWaiters == 0:
		return promiseBroken("I7", "client %d: refused, though nothing limits the queue%s", c.Client, promiseSaying(e))
	case c.ahead < spec.MaxWaiters:
		return promiseBroken("I7", "client %d: refused with %d waiting, of at most %d%s", c.Client, c.ahead, spec.MaxWaiters, promiseSaying(e))
	}
	return nil
}

// lost judges a session said to be lost.
func (s *PromiseState) lost(c *promiseCall) *PromiseViolation {
	if s.cfg.Spec.Affinity != PromiseStrict || c.Session == "" {
		return promiseBroken("I8", "client %d: told that its session is lost, which is not a strict one", c.Client)
	}
	x := s.session(c.Session)
	r := s.resource(x.bound)
	switch {
	case x.unsure:
	case r == nil:
		return promiseBroken("I8", "client %d: told that session %s is lost, which had no resource", c.Client, c.Session)
	case r.phase == promiseAlive && !r.discarded:
		s.losses = append(s.losses, promiseLoss{client: c.Client, session: c.Session, resource: r.id})
	}
	return nil
}

// lostAtRest judges the losses that clients were told of since the last rest.
func (s *PromiseState) lostAtRest() *PromiseViolation {
	losses := s.losses
	s.losses = nil
	for _, l := range losses {
		switch r := s.resource(l.resource); {
		case r.phase != promiseAlive || r.discarded || s.forced || s.cfg.Loose:
		case l.to > 0:
			return promiseBroken("I8", "client %d: session %s moved from resource %d, which lives, to %d", l.client, l.session, r.id, l.to)
		default:
			return promiseBroken("I8", "client %d: told that session %s is lost, but its resource lives", l.client, l.session)
		}
	}
	return nil
}

// promiseSaying quotes the error that an event carries.
func promiseSaying(e *PromiseEvent) string {
	if e.Text == "" {
		return ""
	}
	return " (" + e.Text + ")"
}
