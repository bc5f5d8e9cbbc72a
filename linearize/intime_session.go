package linearize

import "time"

// lastGrants returns when, at the soonest, each worker can have had the last of its grants
// among the points.
func (x *index) lastGrants(points []point) []time.Duration {
	last := make([]time.Duration, len(x.workers))
	for i := range points {
		if p := &points[i]; p.do == doGrant {
			last[p.w] = max(last[p.w], p.lo)
		}
	}
	return last
}

// sessionTurns searches for an order of each session's points by themselves: what other
// sessions do is forgotten, and so is what workers they take. It returns the turn of each
// point in its session's order, and, if a session has none, the verdict on that.
func (s *search) sessionTurns() ([]int32, *Verdict) {
	if len(s.sessions) == 0 {
		return nil, nil
	}
	alone := *s.index
	cfg := *s.cfg
	cfg.Capacity, cfg.FullOnly, cfg.FIFO, cfg.NoneAfter, cfg.CloseWaits = 0, false, false, false, false
	alone.cfg, alone.parked, alone.place = &cfg, nil, nil
	of := make([][]int32, len(s.sessions))
	for i := range s.points {
		if n := s.points[i].s; n != none {
			of[n] = append(of[n], int32(i))
		}
	}
	turns := make([]int32, len(s.points))
	st := alone.start()
	st.closing = true // who is told so need not be right
	for _, list := range of {
		own := make([]point, len(list))
		for k, i := range list {
			own[k] = s.points[i]
		}
		j := s.newInTime(&alone, own, st)
		ok := j.run()
		if ok {
			for turn, a := range j.trail {
				turns[list[a.p]] = int32(turn) + 1
			}
		}
		for len(j.trail) > 0 {
			j.undo()
		}
		if !ok && s.why == "" {
			v := s.illegal("affinity", nil, &own[j.stuckAt], j.stuck)
			return nil, &v
		}
	}
	return turns, nil
}
