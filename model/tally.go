package model

// Tally is how many there are of each in a state, as a pool's own statistics have it.
type Tally struct {
	Starting, Idle, Checking, Leased, Stopping int // live workers; one that is told counts as Checking
	Waiting                                    int // parked acquires
	MinSize, MaxSize                           int
	Closing                                    bool // a Close or Shutdown has begun
}

// Live is the number of live workers.
func (t Tally) Live() int { return t.Starting + t.Idle + t.Checking + t.Leased + t.Stopping }

// Tally counts what is in s.
func (s *State) Tally() Tally {
	t := Tally{Waiting: int(s.waiting), MinSize: int(s.least), MaxSize: int(s.most), Closing: s.Closing()}
	for i := range s.live {
		switch s.workers[i].phase {
		case phaseStarting:
			t.Starting++
		case phaseIdle:
			t.Idle++
		case phaseChecking, phaseTelling:
			t.Checking++
		case phaseLeased:
			t.Leased++
		default:
			t.Stopping++
		}
	}
	return t
}

// Revoked says that c holds a lease that a Shutdown has revoked.
func (s *State) Revoked(c Client) bool { return s.clients[c-1].phase == clientRevoked }
