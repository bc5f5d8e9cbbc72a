package pool

// Stat is a consistent snapshot of a pool (I15): the phases partition the live workers.
type Stat struct {
	Seq                                        uint64 // of this snapshot: changes with lower ones are in it
	MinSize, MaxSize                           int
	Starting, Idle, Checking, Leased, Stopping int
	Waiting                                    int // parked acquires
	Sessions, BoundSessions, LostSessions      int // in the table; of these with a binding; lost
	BackingOff                                 bool
	Closing                                    bool
	Telling                                    int // changes of which the Observer has not yet been told everything
	Counts                                     Counts
}

// Live is the number of live workers.
func (s Stat) Live() int { return s.Starting + s.Idle + s.Checking + s.Leased + s.Stopping }

// Counts are totals since New.
type Counts struct {
	Started       uint64 // starts that succeeded
	StartFailures uint64
	Stopped       uint64 // stops that returned
	Granted       uint64 // leases
}

func (st *state) stat() Stat {
	counts := st.counts
	counts.Granted = uint64(st.token)
	return Stat{
		Seq: st.seq, MinSize: st.MinSize, MaxSize: st.MaxSize,
		Starting: st.starting, Idle: st.idle(), Checking: st.checking, Leased: st.leased, Stopping: st.stopped,
		Waiting: st.waiting, Sessions: len(st.sessions), BoundSessions: st.bindings, LostSessions: st.lost,
		BackingOff: st.backingOff(), Closing: st.closing, Counts: counts,
	}
}
