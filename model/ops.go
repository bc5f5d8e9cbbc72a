package model

// Enabled says that op is possible in s: its client is free to do it, its hook is running.
// What [Config.Offer] leaves out may be possible all the same.
func Enabled(cfg *Config, s *State, op Op) bool {
	switch op.Kind {
	case OpAcquire, OpTry, OpCancel, OpRelease, OpReleaseUnusable, OpDiscard, OpGiveBack:
		return enabledClient(cfg, s, op)
	case OpEndSession:
		return op.Session >= 1 && int(op.Session) <= cfg.Sessions
	case OpRetire:
		return op.Worker > 0
	case OpResize:
		return op.Max >= 1 && op.Max <= MaxWorkerSlots && op.Min <= op.Max
	case OpStarted, OpStartFailed:
		return s.inPhase(op.Worker, phaseStarting, phaseEndingStart)
	case OpStopped:
		return s.inPhase(op.Worker, phaseStopping, phaseStopping)
	case OpChecked, OpCheckFailed:
		return s.inPhase(op.Worker, phaseChecking, phaseEndingCheck)
	case OpTold, OpTellFailed:
		return s.inPhase(op.Worker, phaseTelling, phaseEndingTell)
	case OpClose, OpForce, OpTick:
		return true
	}
	return false
}

func enabledClient(cfg *Config, s *State, op Op) bool {
	if op.Client < 1 || int(op.Client) > cfg.Clients || int(op.Session) > cfg.Sessions {
		return false
	}
	switch c := &s.clients[op.Client-1]; op.Kind {
	case OpAcquire, OpTry:
		return c.phase == clientOut
	case OpCancel:
		return c.phase == clientWaiting
	default:
		return c.phase == clientHolding || c.phase == clientRevoked
	}
}

// inPhase says that the worker numbered id is in one of two phases.
func (s *State) inPhase(id Worker, p, q phase) bool {
	slot, ok := s.slot(id)
	return ok && (s.workers[slot].phase == p || s.workers[slot].phase == q)
}

// Ops appends to dst, in a fixed order, the operations that cfg offers and that are
// possible in s.
func Ops(cfg *Config, s *State, dst []Op) []Op {
	for i := range cfg.Clients {
		dst = appendClientOps(dst, cfg, s, Client(i+1), cfg.Sessions)
	}
	for i := range s.live {
		dst = appendWorkerOps(dst, cfg, &s.workers[i])
	}
	return appendCommonOps(dst, cfg, s, cfg.Sessions)
}

// appendClientOps appends what a client may do, with the first few sessions.
func appendClientOps(dst []Op, cfg *Config, s *State, c Client, sessions int) []Op {
	offer := &cfg.Offer
	switch s.clients[c-1].phase {
	case clientOut:
		dst = appendAcquires(dst, cfg, c, sessions)
	case clientWaiting:
		if offer.Cancels {
			dst = append(dst, Op{Kind: OpCancel, Client: c})
		}
	case clientHolding, clientRevoked:
		dst = append(dst, Op{Kind: OpRelease, Client: c})
		if offer.Unusable {
			dst = append(dst, Op{Kind: OpReleaseUnusable, Client: c})
		}
		if offer.Discards {
			dst = append(dst, Op{Kind: OpDiscard, Client: c})
		}
	}
	return dst
}

// appendAcquires appends the acquires and tries of a client for the first few sessions.
func appendAcquires(dst []Op, cfg *Config, c Client, sessions int) []Op {
	first := 0
	if cfg.Offer.SessionsOnly {
		first = 1
	}
	for id := first; id <= sessions; id++ {
		dst = append(dst, Op{Kind: OpAcquire, Client: c, Session: Session(id)})
		if cfg.Offer.Tries {
			dst = append(dst, Op{Kind: OpTry, Client: c, Session: Session(id)})
		}
	}
	return dst
}

func appendWorkerOps(dst []Op, cfg *Config, w *worker) []Op {
	good, bad, fails := OpNone, OpNone, false
	switch w.phase {
	case phaseStarting, phaseEndingStart:
		good, bad, fails = OpStarted, OpStartFailed, cfg.Offer.FailingStarts
	case phaseChecking, phaseEndingCheck:
		good, bad, fails = OpChecked, OpCheckFailed, cfg.Offer.FailingChecks
	case phaseTelling, phaseEndingTell:
		good, bad, fails = OpTold, OpTellFailed, cfg.Offer.FailingTells
	case phaseStopping:
		good = OpStopped
	}
	if good != OpNone {
		dst = append(dst, Op{Kind: good, Worker: w.id})
	}
	if fails {
		dst = append(dst, Op{Kind: bad, Worker: w.id})
	}
	if cfg.Offer.Retires && w.phase.present() {
		dst = append(dst, Op{Kind: OpRetire, Worker: w.id})
	}
	return dst
}

// appendCommonOps appends what is nobody's in particular, for the first few sessions.
func appendCommonOps(dst []Op, cfg *Config, s *State, sessions int) []Op {
	offer := &cfg.Offer
	if offer.EndSessions {
		for id := range sessions {
			dst = append(dst, Op{Kind: OpEndSession, Session: Session(id + 1)})
		}
	}
	for _, size := range offer.Resizes {
		if size.Min != s.least || size.Max != s.most {
			dst = append(dst, Op{Kind: OpResize, Min: size.Min, Max: size.Max})
		}
	}
	if offer.Close {
		dst = append(dst, Op{Kind: OpClose})
	}
	if offer.Force {
		dst = append(dst, Op{Kind: OpForce})
	}
	if offer.Ticks {
		dst = append(dst, Op{Kind: OpTick})
	}
	return dst
}
