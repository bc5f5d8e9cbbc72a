package props

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// schedStory writes a log by hand.
type schedStory struct {
	log  schedLog
	open [model.MaxClientSlots]int // by client: its call
}

// calls begins a call of a client.
func (s *schedStory) calls(client model.Client, verb schedVerb, op model.Op) *schedStory {
	op.Client = client
	s.open[client-1] = len(s.log.calls)
	s.log.calls = append(s.log.calls, schedCall{verb: verb, op: op, aborted: true})
	return s.enter(schedEntry{kind: schedCalled, call: s.open[client-1]})
}

// returns ends it; got is what it returned.
func (s *schedStory) returns(client model.Client, got schedCall) *schedStory {
	call := &s.log.calls[s.open[client-1]]
	got.verb, got.op = call.verb, call.op
	*call = got
	return s.enter(schedEntry{kind: schedReturned, call: s.open[client-1]})
}

func (s *schedStory) enter(e schedEntry) *schedStory {
	s.log.entries = append(s.log.entries, e)
	return s
}

func (s *schedStory) acquires(client model.Client, session model.Session) *schedStory {
	return s.calls(client, schedAcquire, model.Op{Kind: model.OpAcquire, Session: session})
}

func (s *schedStory) granted(client model.Client, token uint64, fresh bool) *schedStory {
	return s.returns(client, schedCall{granted: true, worker: 1, token: token, fresh: fresh})
}

func (s *schedStory) refused(client model.Client, reason model.Reason) *schedStory {
	return s.returns(client, schedCall{reason: reason})
}

func (s *schedStory) releases(client model.Client) *schedStory {
	return s.calls(client, schedRelease, model.Op{Kind: model.OpRelease}).returns(client, schedCall{})
}

func (s *schedStory) closes(client model.Client) *schedStory {
	return s.calls(client, schedClose, model.Op{Kind: model.OpClose})
}

func (s *schedStory) givesUp(client model.Client) *schedStory {
	return s.enter(schedEntry{kind: schedGivenUp, call: s.open[client-1]})
}

// begins and ends are those of hooks.
func (s *schedStory) begins(kind model.EventKind, w model.Worker) *schedStory {
	return s.enter(schedEntry{kind: schedHookBegan, hook: model.Event{Kind: kind, Worker: w}})
}

func (s *schedStory) ends(kind model.OpKind) *schedStory {
	return s.enter(schedEntry{kind: schedHookEnded, answer: model.Op{Kind: kind, Worker: 1}})
}

func (s *schedStory) rests(t Tally) *schedStory {
	return s.enter(schedEntry{kind: schedRest, rest: &schedStill{tally: t, counted: true}})
}

func (s *schedStory) restsUncounted() *schedStory {
	return s.enter(schedEntry{kind: schedRest, rest: &schedStill{}})
}

// schedLeased is a story in which client 1 has the only worker's first lease.
func schedLeased(session model.Session) *schedStory {
	s := &schedStory{}
	return s.acquires(1, session).begins(model.EvStartBegun, 1).ends(model.OpStarted).granted(1, 1, session > 0)
}

// Each of these logs is of a pool that keeps its promises.
func TestJudgeAcceptsWhatFits(t *testing.T) {
	idle, leased := Tally{Live: 1, Idle: 1}, Tally{Live: 1, Leased: 1}
	for name, s := range map[string]*schedStory{
		"nothing":        (&schedStory{}).rests(Tally{}),
		"release":        schedLeased(0).releases(1).rests(idle),
		"hand over":      schedLeased(0).acquires(2, 0).releases(1).granted(2, 2, false).rests(leased),
		"either order":   schedLeased(0).acquires(2, 0).acquires(3, 0).releases(1).granted(3, 2, false).restsUncounted(),
		"cancelled":      schedLeased(0).acquires(2, 0).givesUp(2).refused(2, model.ReasonCancelled).rests(leased),
		"given back":     schedLeased(0).acquires(2, 0).releases(1).givesUp(2).refused(2, model.ReasonCancelled).rests(idle),
		"session":        schedLeased(1).releases(1).acquires(2, 1).granted(2, 2, false).rests(leased),
		"close":          schedLeased(0).closes(2).acquires(3, 0).refused(3, model.ReasonClosed).releases(1).begins(model.EvStopBegun, 1).ends(model.OpStopped).returns(2, schedCall{}).rests(Tally{}),
		"close too late": schedLeased(0).acquires(3, 0).closes(2).releases(1).granted(3, 2, false).restsUncounted(),
		"failed start":   (&schedStory{}).acquires(1, 0).begins(model.EvStartBegun, 1).ends(model.OpStartFailed).refused(1, model.ReasonStartFailed).rests(Tally{}),
	} {
		if err := s.log.judge(schedStoryConfig()); err != nil {
			t.Errorf("%s: %v\n%s", name, err, s.log.columns(3))
		}
	}
}

// Each of these logs breaks a promise, whatever the order of what was done at the same time.
func TestJudgeObjects(t *testing.T) {
	idle, leased := Tally{Live: 1, Idle: 1}, Tally{Live: 1, Leased: 1}
	stat := func(s *schedStory, tally Tally) *schedStory {
		return s.calls(2, schedStat, model.Op{}).returns(2, schedCall{tally: tally})
	}
	for _, c := range []struct {
		name, rule string
		s          *schedStory
	}{
		{"one worker, two leases", "I7", schedLeased(0).acquires(2, 0).granted(2, 2, false)},
		{"a grant before the start returned", "I7", (&schedStory{}).acquires(1, 0).begins(model.EvStartBegun, 1).granted(1, 1, false)},
		{"a token that is not new", "I7", schedLeased(0).acquires(2, 0).releases(1).granted(2, 1, false)},
		{"the later of two waiters first", "I7", schedLeased(0).acquires(2, 0).restsUncounted().acquires(3, 0).releases(1).granted(3, 2, false)},
		{"a lost wake-up", "I5", schedLeased(0).acquires(2, 0).releases(1).rests(Tally{Live: 1, Idle: 1, Waiting: 1})},
		{"a lost worker", "I5", schedLeased(0).acquires(2, 0).releases(1).givesUp(2).refused(2, model.ReasonCancelled).rests(leased)},
		{"a start that nobody needs", "I5", schedLeased(0).releases(1).begins(model.EvStartBegun, 2)},
		{"a start that is missing", "I5", (&schedStory{}).acquires(1, 0).restsUncounted()},
		{"a stop without a reason", "I3", schedLeased(0).begins(model.EvStopBegun, 1)},
		{"cancelled, though nobody gave up", "I6", schedLeased(0).acquires(2, 0).refused(2, model.ReasonCancelled)},
		{"closed, though nobody closed", "I13", schedLeased(0).acquires(2, 0).refused(2, model.ReasonClosed)},
		{"a grant after Close has been seen", "I7", schedLeased(0).closes(2).acquires(3, 0).refused(3, model.ReasonClosed).releases(1).acquires(1, 0).granted(1, 2, false)},
		{"Close with a lease out", "I13", schedLeased(0).closes(2).returns(2, schedCall{})},
		{"closed by force, though nobody forced it", "I13", (&schedStory{}).closes(2).returns(2, schedCall{forced: true})},
		{"a session bound twice", "I7", schedLeased(1).releases(1).acquires(2, 1).granted(2, 2, true)},
		{"a session whose first lease is not fresh", "I7", (&schedStory{}).acquires(1, 1).begins(model.EvStartBegun, 1).ends(model.OpStarted).granted(1, 1, false)},
		{"a session lost, though its worker lives", "I8", schedLeased(1).releases(1).acquires(2, 1).refused(2, model.ReasonLost)},
		{"a start that failed for nobody", "I10", schedLeased(0).acquires(2, 0).refused(2, model.ReasonStartFailed)},
		{"counts that never were", "I15", stat(schedLeased(0), idle)},
		{"a call that does not return", "I5", schedLeased(0).releases(1).closes(1).begins(model.EvStopBegun, 1).ends(model.OpStopped).restsUncounted()},
	} {
		err := c.s.log.judge(schedStoryConfig())
		if err == nil {
			t.Errorf("%s is accepted\n%s", c.name, c.s.log.columns(3))
			continue
		}
		if rule, _, _ := strings.Cut(err.Error(), ":"); rule != c.rule {
			t.Errorf("%s: %v; want %s", c.name, err, c.rule)
		}
	}
}

func schedStoryConfig() *model.Config {
	return (&PoolTarget{}).complete(&model.Config{MaxSize: 1, BackoffMin: 1, BackoffMax: 1, Clients: 3, Sessions: 1})
}

// A script reads back as what was written.
func TestScheduledScriptReadsBack(t *testing.T) {
	const script = `config MaxSize=2 BackoffMin=1 HasCheck=true HealthCheckPeriod=2 Affinity=strict Clients=3 Sessions=2
observed
hook start 1 error
hook check 2 ok slow=3
c1 acquire session=a cancelled
c1 meet
c1 release
c2 resize 0 2
c2 pause 2
c2 shutdown stale
c3 retire 1
c3 end session=b
schedule 1:1 7:2
`
	s, err := parseSchedScript("# a remark\n" + script)
	if err != nil || s.String() != script {
		t.Errorf("%v; got\n%v\nwant\n%s", err, s, script)
	}
	for _, wrong := range []string{
		"", "c1 acquire", "config MaxSize=1\nc9 acquire", "config MaxSize=1\nc1 acquire 3", "config MaxSize=1\nc1 fly",
		"config MaxSize=1\nhook start", "config MaxSize=1\nhook start 1 badly", "config MaxSize=1\nc1 resize 2 1",
		"config MaxSize=1\nc1 end", "config MaxSize=1\nc1 release cancelled", "config MaxSize=1\nschedule 1", "config MaxSize=1\nwhat",
	} {
		if _, err := parseSchedScript(wrong); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

// complaints is a TB that only counts them.
type complaints struct {
	testing.TB
	n int
}

func (c *complaints) Helper()               {}
func (c *complaints) Errorf(string, ...any) { c.n++ }

// Traffic that lacks anything is objected to.
func TestScheduledWantsTraffic(t *testing.T) {
	full := schedTraffic{checks: 100, calls: 500, grants: 75, waits: 60, cancels: 18, hooks: 217, preemptions: 17}
	none := &model.Config{}
	for _, c := range []struct {
		name   string
		change func(*schedTraffic)
		own    *model.Config
		want   int
	}{
		{"enough", func(*schedTraffic) {}, nil, 0},
		{"too few checks to tell", func(t *schedTraffic) { *t = schedTraffic{checks: 29} }, nil, 0},
		{"nothing in thirty", func(t *schedTraffic) { *t = schedTraffic{checks: 30} }, nil, 2},
		{"no grant", func(t *schedTraffic) { t.grants = 0 }, nil, 1},
		{"nobody waits", func(t *schedTraffic) { t.waits = 0 }, nil, 1},
		{"no cancel", func(t *schedTraffic) { t.cancels = 0 }, nil, 1},
		{"no cancel, and none is offered", func(t *schedTraffic) { t.cancels = 0 }, none, 0},
		{"no hook", func(t *schedTraffic) { t.hooks = 0 }, nil, 1},
		{"nobody is preempted", func(t *schedTraffic) { t.preemptions = 0 }, nil, 1},
		{"too little for a thousand", func(t *schedTraffic) { t.checks = 1000 }, nil, 5},
		{"too little for a thousand of a configuration of one's own", func(t *schedTraffic) { t.checks, t.preemptions = 1000, 40 }, none, 2},
	} {
		traffic, tb := full, &complaints{}
		c.change(&traffic)
		if traffic.enough(tb, c.own); tb.n != c.want {
			t.Errorf("%s: %d complaints, want %d", c.name, tb.n, c.want)
		}
	}
}

// A hundred checks that drive a pool as usual are enough, and of programs that do nothing, or
// under a schedule that preempts nobody, they are not.
func TestScheduledMeasuresTraffic(t *testing.T) {
	for _, c := range []struct {
		name     string
		strategy func(sched.Strategy) sched.Strategy // nil: no program either
		want     int
	}{
		{"drawn", func(s sched.Strategy) sched.Strategy { return s }, 0},
		{"never preempted", func(sched.Strategy) sched.Strategy { return sched.NewReplay(nil) }, 1},
		{"nothing done", nil, 5},
	} {
		target := PoolTarget{Name: "pool", Open: OpenPool}
		var traffic schedTraffic
		rng := rand.New(rand.NewPCG(1, 1))
		d := &schedDrawer{rng: rng, can: target.abilities(t)}
		for range 100 {
			cfg := schedSmallest()
			cfg.Clients, cfg.Offer.Cancels = 3, true
			program, strategy := d.next(func() *model.Config { return target.complete(cfg) })
			if c.strategy == nil {
				program, strategy = &schedProgram{cfg: target.complete(schedSmallest())}, sched.NewReplay(nil)
			} else {
				strategy = c.strategy(strategy)
			}
			f := target.schedTest(t, program, sched.Options{Strategy: strategy})
			if f.err != nil {
				t.Fatal(f.err)
			}
			traffic.add(f)
		}
		tb := &complaints{}
		if traffic.enough(tb, nil); tb.n != c.want {
			t.Errorf("%s: %d complaints, want %d: %v", c.name, tb.n, c.want, traffic)
		}
	}
}
