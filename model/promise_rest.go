package model

import "time"

// grant judges that an acquire got a resource.
func (s *PromiseState) grant(c *promiseCall, e *PromiseEvent) *PromiseViolation {
	r := s.resource(e.Resource)
	if r == nil {
		return promiseBroken("I3", "client %d: granted a resource that the factory never made", c.Client)
	}
	if v := s.grantable(c, r); v != nil {
		return v
	}
	if v := s.unexpired(c, r); v != nil {
		return v
	}
	if v := s.affine(c, r); v != nil {
		return v
	}
	r.holder = c.Call
	r.grants++
	s.held++
	if c.Session != "" {
		x := s.session(c.Session)
		x.used = e.At
		if !x.unsure {
			x.bound = r.id
		}
	}
	if c.Op == PromiseAcquire {
		s.granted = append(s.granted, *c)
	}
	return nil
}

// grantable judges the resource and the moment of a grant.
func (s *PromiseState) grantable(c *promiseCall, r *promiseResource) *PromiseViolation {
	after := c.reset
	if !s.cfg.Loose && s.rests > c.rests {
		after = max(after, s.resetAtRest)
	}
	switch {
	case s.forced:
		return nil
	case r.holder != 0:
		return promiseBroken("I1", "client %d: granted resource %d, which another client holds", c.Client, r.id)
	case r.phase != promiseAlive:
		return promiseBroken("I3", "client %d: granted resource %d, whose destruction had begun", c.Client, r.id)
	case r.discarded:
		return promiseBroken("I3", "client %d: granted resource %d, which was discarded", c.Client, r.id)
	case s.held >= s.capStep:
		return promiseBroken("I2", "client %d: granted resource %d while %d of %d were taken", c.Client, r.id, s.held, s.capStep)
	case c.Done && !s.cfg.Spec.NoContext && !s.cfg.Spec.DoneTakes:
		return promiseBroken("I6", "client %d: granted resource %d though its context had ended before the call", c.Client, r.id)
	case c.late && s.closed:
		return promiseBroken("I13", "client %d: granted resource %d though the pool was closed", c.Client, r.id)
	case r.born < after && (!r.across || r.grants > 0):
		return promiseBroken("reset", "client %d: granted resource %d, which is older than the last reset", c.Client, r.id)
	}
	return nil
}

// unexpired judges a resource's age at a grant, giving every doubt to the pool.
func (s *PromiseState) unexpired(c *promiseCall, r *promiseResource) *PromiseViolation {
	spec := &s.cfg.Spec
	taken := c.At                                                 // the earliest moment at which the pool may have chosen r
	if !s.cfg.Loose && s.rests > c.rests && s.restInFlight == 0 { // it may have chosen, and run a hook first
		taken = max(taken, s.restAt)
	}
	if r.checkAt >= c.At {
		taken = min(taken, r.checkAt)
	}
	if age := taken - r.createdAt; spec.Lifetime > 0 && age > spec.Lifetime+spec.Slack {
		return promiseBroken("I17", "client %d: granted resource %d at the age of %v, past its lifetime", c.Client, r.id, age)
	}
	if idle := taken - r.idleAt; spec.IdleTime > 0 && idle > spec.IdleTime+spec.Slack {
		return promiseBroken("I17", "client %d: granted resource %d after %v idle, past its idle time", c.Client, r.id, idle)
	}
	return nil
}

// bound returns the resource that a session is bound to for certain, or nil.
func (s *PromiseState) bound(name string, at time.Duration) *promiseResource {
	x := s.sessions[name]
	if name == "" || x == nil || x.unsure || s.cfg.Spec.Affinity == PromiseNone {
		return nil
	}
	r := s.resource(x.bound)
	ttl := s.cfg.Spec.SessionTTL
	if r == nil || r.holder == 0 && ttl > 0 && at-x.used+s.cfg.Spec.Slack >= ttl {
		return nil
	}
	return r
}

// affine judges that a session got that resource.
func (s *PromiseState) affine(c *promiseCall, r *promiseResource) *PromiseViolation {
	own := s.bound(c.Session, c.At)
	if own == nil || own == r {
		return nil
	}
	alive := own.phase == promiseAlive && !own.discarded
	switch s.cfg.Spec.Affinity {
	case PromiseStrict:
		return promiseBroken("I8", "client %d: session %s moved from resource %d to %d", c.Client, c.Session, own.id, r.id)
	case PromiseSticky:
		if alive {
			s.losses = append(s.losses, promiseLoss{client: c.Client, session: c.Session, resource: own.id, to: r.id})
		}
	case PromisePrefer:
		if alive && c.preferred == own.id && own.holder == 0 && c.rests == s.rests {
			return promiseBroken("I8", "client %d: session %s got resource %d while its own, %d, was idle", c.Client, c.Session, r.id, own.id)
		}
	}
	return nil
}

// Rest is told that at this moment nothing moves, and returns what is wrong with that, or
// nil. What the pool owes by now and has not done is a debt, which is a suspicion only: a
// pool may work by timers, so it becomes a finding if it lasts while time passes in which
// every hook succeeds promptly.
func (s *PromiseState) Rest(at time.Duration) *PromiseViolation {
	v := s.ordered()
	if v == nil {
		v = s.crowded()
	}
	if lost := s.lostAtRest(); v == nil {
		v = lost
	}
	s.granted = s.granted[:0]
	s.rests++
	s.restAt = at
	s.still = true
	s.restCreates, s.restInFlight = s.creates, s.Hooks()
	s.resetAtRest = s.resetDone
	s.capStep = s.capHigh
	for i := range s.open {
		c := &s.open[i]
		if c.parked == 0 && c.Op == PromiseAcquire && s.inCreate == 0 {
			c.parked = s.rests
		}
	}
	if v != nil || s.Hooks() > 0 {
		return v
	}
	for i := range s.open {
		if v := s.owed(&s.open[i], at); v != nil {
			return v.debt()
		}
	}
	return s.owedAtAll().debt()
}

// debt marks a violation, if it is one, as something owed.
func (v *PromiseViolation) debt() *PromiseViolation {
	if v != nil {
		v.Debt = true
	}
	return v
}

// ordered judges the grants since the last rest against those who still wait.
func (s *PromiseState) ordered() *PromiseViolation {
	if !s.cfg.Spec.FIFO || s.cfg.Loose || s.inCreate > 0 || s.creates > s.restCreates || s.restInFlight > 0 {
		return nil
	}
	for _, late := range s.granted {
		for i := range s.open {
			w := &s.open[i]
			same := w.Session == "" && late.Session == "" || s.cfg.Spec.Affinity == PromiseNone
			if w.Op == PromiseAcquire && w.parked > 0 && w.parked <= late.rests && !w.cancelled && w.Deadline == 0 && same {
				return promiseBroken("I7", "client %d was served before client %d, which had waited longer", late.Client, w.Client)
			}
		}
	}
	return nil
}

// crowded judges how many are alive where a slot may be reused before its Destroy has begun.
func (s *PromiseState) crowded() *PromiseViolation {
	limit, bounded := s.maxAlive()
	if !s.cfg.Spec.DestroyFreesEarly || s.cfg.Loose || !bounded || s.creates == s.restCreates || s.alive <= limit {
		return nil
	}
	return promiseBroken("I2", "%d resources are alive, of at most %d", s.alive, limit)
}

// over reports whether every lease is back, or need not come back.
func (s *PromiseState) over() bool { return s.held == 0 || s.forced }

// owed returns what the pool owes to an open call while no hook runs.
func (s *PromiseState) owed(c *promiseCall, at time.Duration) *PromiseViolation {
	switch c.Op {
	case PromiseTry, PromiseRelease, PromiseDiscard, PromiseAgain:
		return promiseBroken("I4", "client %d: %s has not returned, though no hook runs", c.Client, c.Op)
	case PromiseClose, PromiseShutdown:
		if s.over() {
			return promiseBroken("I13", "client %d: %s has not returned, though every lease is back", c.Client, c.Op)
		}
	case PromiseAcquire:
		return s.owedWaiter(c, at)
	case PromiseCreate:
		if s.over() && (s.closed || s.alive < s.capLow && !s.closing) {
			return promiseBroken("I4", "client %d: %s has not returned, though there is room", c.Client, c.Op)
		}
	default:
		if s.over() && s.Waiting() == 0 {
			return promiseBroken("I4", "client %d: %s has not returned, though nothing is under way", c.Client, c.Op)
		}
	}
	return nil
}

// owedWaiter returns what the pool owes to a waiting acquire while no hook runs.
func (s *PromiseState) owedWaiter(c *promiseCall, at time.Duration) *PromiseViolation {
	spec := &s.cfg.Spec
	if !spec.NoContext && (c.cancelled || c.Deadline > 0 && at >= c.Deadline) {
		return promiseBroken("I6", "client %d: its context has ended, but its acquire has not returned", c.Client)
	}
	if s.closing {
		if spec.ClosedAtOnce || s.over() {
			return promiseBroken("I13", "client %d: still waits although the pool was closed", c.Client)
		}
		return nil
	}
	if own := s.bound(c.Session, at); own != nil && spec.Affinity != PromisePrefer {
		alive := own.phase == promiseAlive && !own.discarded
		switch {
		case alive && own.holder == 0:
			return promiseBroken("I5", "client %d: waits while its session's resource %d is idle", c.Client, own.id)
		case alive:
			return nil
		case spec.Affinity == PromiseStrict && c.pinned == own.id:
			return promiseBroken("I8", "client %d: still waits for resource %d, which is gone", c.Client, own.id)
		}
	}
	if x := s.sessions[c.Session]; x != nil && x.unsure && s.held > 0 && spec.Affinity != PromiseNone {
		return nil // it may wait for a resource that is taken
	}
	if s.held+s.reserved(c.Session) < s.capLow {
		return promiseBroken("I5", "client %d: waits while only %d of %d are taken and no hook runs", c.Client, s.held, s.capLow)
	}
	if spec.RefusesWhenFull {
		return promiseBroken("I7", "client %d: waits, in a pool said to refuse when it is full", c.Client)
	}
	return nil
}

// reserved counts the idle resources that a pool may keep for other sessions.
func (s *PromiseState) reserved(name string) int {
	if s.cfg.Spec.Affinity != PromiseStrict && s.cfg.Spec.Affinity != PromiseSticky {
		return 0
	}
	n := 0
	for _, x := range s.sessions {
		if x.unsure {
			n++
		}
	}
	for i := range s.resources {
		r := &s.resources[i]
		if r.phase != promiseAlive || r.holder != 0 {
			continue
		}
		for other, x := range s.sessions {
			if x.bound == r.id && other != name {
				n++
				break
			}
		}
	}
	return n
}

// owedAtAll returns what the pool owes to nobody in particular while no hook runs.
func (s *PromiseState) owedAtAll() *PromiseViolation {
	spec := &s.cfg.Spec
	if waiting := s.Waiting(); spec.MaxWaiters > 0 && !s.closing && waiting > spec.MaxWaiters {
		return promiseBroken("I7", "%d wait, of at most %d", waiting, spec.MaxWaiters)
	}
	if !s.closed || !s.over() {
		return nil
	}
	for i := range s.resources {
		if s.resources[i].phase == promiseAlive {
			return promiseBroken("I3", "resource %d was never destroyed, though the pool is closed", s.resources[i].id)
		}
	}
	return nil
}

// Counted judges the pool's own counts, read while nothing moves; like a debt, a wrong
// count is a suspicion until it has lasted.
func (s *PromiseState) Counted(idle, leased, total int) *PromiseViolation {
	switch {
	case idle < 0 || leased < 0 || total < 0:
		return promiseBroken("I15", "negative counts: idle %d, leased %d, total %d", idle, leased, total)
	case s.Hooks() > 0 || s.closing || len(s.open) > s.Waiting():
		return nil
	case leased != s.held:
		return promiseBroken("I15", "%d counted as leased, %d are", leased, s.held)
	case total != idle+leased:
		return promiseBroken("I15", "idle %d and leased %d do not add up to %d", idle, leased, total)
	case total != s.alive:
		return promiseBroken("I15", "%d counted in total, the factory counts %d", total, s.alive)
	}
	return nil
}

// CountedWaiting judges the pool's own count of waiters, as Counted does.
func (s *PromiseState) CountedWaiting(n int) *PromiseViolation {
	if n < 0 || s.Hooks() == 0 && !s.closing && n != s.Waiting() {
		return promiseBroken("I15", "%d counted as waiting, %d are", n, s.Waiting())
	}
	return nil
}
