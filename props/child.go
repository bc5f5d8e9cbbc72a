package props

import (
	"context"
	"flag"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// genFar does runs in child processes: the test binary again, which comes to the same call
// of Verify and then does what it is told. A child is used for many runs. One that panics,
// exits, does nothing any more or meets a data race is a finding, with the script that it
// wrote ahead, and another takes its place.
type genFar struct {
	v    *genVerifier
	role genRole

	mu   sync.Mutex
	idle []*genChild // guarded by mu
}

// A search is given out to children in shares of so many checks: in a bubble, and in real
// time, where it is one run.
const (
	genShare     = 250
	genShareReal = genRunsPerReal
)

// genWeary is how many asks a child answers in real time before another takes its place:
// what a pool leaves behind adds up.
const genWeary = 200

// genUnfitTries is how often a script that hung a bubble is replayed in real time.
const genUnfitTries = 20

func newGenFar(v *genVerifier, role genRole) *genFar { return &genFar{v: v, role: role} }

// get returns a child that nobody else uses.
func (f *genFar) get() (*genChild, error) {
	f.mu.Lock()
	if n := len(f.idle); n > 0 {
		c := f.idle[n-1]
		f.idle = f.idle[:n-1]
		f.mu.Unlock()
		return c, nil
	}
	f.mu.Unlock()
	return startGenChild(f.role)
}

// put keeps a child for later.
func (f *genFar) put(c *genChild) {
	if c.served >= genWeary {
		c.stop()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, c)
}

// stop ends all children that nobody uses.
func (f *genFar) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.idle {
		c.stop()
	}
	f.idle = nil
}

// silence is how long a child may do nothing: it takes a bubble that hangs for a finding by
// itself, and in real time waits for debts.
func (f *genFar) silence(real bool) time.Duration {
	if real {
		return f.v.target.patience() + f.v.hang
	}
	return 2 * f.v.hang
}

// ask lets a child do something and returns its answer; if it died, that is the finding.
// Hear may be nil.
func (f *genFar) ask(ctx context.Context, ask *genAsk, hear func(*genSaid)) (*genSaid, error) {
	if hear == nil {
		hear = func(*genSaid) {}
	}
	c, err := f.get()
	if err != nil {
		return nil, err
	}
	said, death, err := c.ask(ctx, ask, f.silence(ask.Real), hear)
	if err != nil || death != nil {
		c.stop()
		return &genSaid{Finding: death.wire(), Traffic: genTraffic{runs: 1}}, err
	}
	if w := said.Finding; w != nil && (ask.Do == genSearchIt || w.Unfit || w.Deadly || w.Events != nil) {
		c.stop() // a bubble may hang there, or goroutines be left
	} else {
		f.put(c)
	}
	return said, nil
}

// until returns a context that ends before the test is killed for taking too long.
func (f *genFar) until(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	if deadline, ok := t.Deadline(); ok {
		return context.WithDeadline(t.Context(), deadline.Add(-time.Second))
	}
	return t.Context(), func() {}
}

// search looks for a finding as genVerifier.search does.
func (f *genFar) search(t *testing.T, profile genProfile) (found *genFinding, total genTraffic, ran, asked int) {
	t.Helper()
	ctx, cancel := f.until(t)
	defer cancel()
	asked = genAsked()
	s := &genFarSearch{far: f, subtest: profile.name, asked: asked, seed: genSeed()}
	for ctx.Err() == nil && s.given < asked {
		s.sweep(ctx)
		if s.err != nil {
			t.Fatalf("props: %s: %v", f.v.target.Name, s.err)
		}
		if s.found == nil || !s.found.unfit {
			break
		}
		f.stop()
		s.given = s.ran
		if s.found = f.unfit(ctx, t, s.found); s.found != nil {
			break
		}
	}
	s.tell(t)
	return s.found, s.total, s.ran, asked
}

// tell says how the same is found again.
func (s *genFarSearch) tell(t *testing.T) {
	t.Helper()
	if s.found != nil {
		t.Logf("%s: found after %d checks, -rapid.seed=%d", s.far.v.target.Name, s.ran, s.seed)
	}
}

// unfit makes the most of a target that hung a bubble, or died of it: from now on hooks are
// made to wait in real time only; if that has been tried, all runs are. The script may have
// come upon a fault, so it is replayed in real time, where chance decides whether it does again.
func (f *genFar) unfit(ctx context.Context, t *testing.T, hung *genFinding) (found *genFinding) {
	t.Helper()
	again := f.v.mixed || hung.deadly // the runtime itself refuses it
	what := "so hooks are made to wait in real time only"
	if again {
		what = "so it is checked in real time"
	}
	t.Logf("%s cannot live in a bubble, %s: %v\n%s", f.v.target.Name, what, hung.violation, hung.stacks)
	f.v.mixed, f.v.target.RealTime = true, true
	for try := 0; try < genUnfitTries && found == nil && ctx.Err() == nil; try++ {
		found = f.replay(t, &genScript{target: f.v.target.Name, ops: hung.ops})
	}
	f.v.target.RealTime = again || found != nil
	return found
}

// genSeed returns the seed that rapid was told, or one of its own.
func genSeed() uint64 {
	seed, err := strconv.ParseUint(flag.Lookup("rapid.seed").Value.String(), 10, 64)
	for err != nil || seed == 0 {
		seed, err = rand.Uint64(), nil
	}
	return seed
}

// genFarSearch is a search under way.
type genFarSearch struct {
	far     *genFar
	subtest string
	asked   int
	seed    uint64

	scheduled bool // by a scheduler, which is never in real time

	mu    sync.Mutex
	given int // guarded by mu; checks given to children
	share int // guarded by mu; number of the next share
	ran   int // guarded by mu; checks done
	at    int // guarded by mu; the share that found is from
	found *genFinding
	real  bool // it was found in real time
	total genTraffic
	err   error
	under map[int]int // guarded by mu; checks done so far, by share under way

	instrumented bool // guarded by mu; the pool has points of its own
}

// sweep gives out shares until all checks are done or something is found. What is found
// does not depend on the children's pace, except in real time.
func (s *genFarSearch) sweep(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := s.far.v
	mixed, allReal := v.mixed && !s.scheduled, v.target.RealTime && !s.scheduled
	children := runtime.GOMAXPROCS(0)
	if !mixed && !allReal {
		children = min(children, (s.asked-s.given+genShare-1)/genShare)
	}
	s.under = map[int]int{}
	var wg sync.WaitGroup
	for range children {
		wg.Go(func() {
			for {
				at, checks, real := s.next(mixed, allReal)
				if checks == 0 || ctx.Err() != nil {
					return
				}
				said, err := s.far.ask(ctx, &genAsk{
					Do: genSearchIt, Subtest: s.subtest, Checks: checks, Seed: genMix(s.seed, uint64(at)),
					Real: real, Prompt: mixed && !real,
				}, func(said *genSaid) { s.heard(at, said.Ran) })
				if s.take(at, checks, real, said, err); (mixed || real) && s.over() {
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if s.found != nil && s.real {
		v.target.RealTime = true // there it is replayed
	}
}

// next gives out a share: its number, how many checks it has (0 if none is left), and whether
// they are to take place in real time. A mixture is three runs in real time to one full share.
func (s *genFarSearch) next(mixed, allReal bool) (at, checks int, real bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found != nil || s.err != nil {
		return 0, 0, false
	}
	at = s.share
	s.share++
	share := genShare
	if real = allReal || mixed && at%4 != 3; real {
		share = genShareReal
	}
	checks = min(share, s.asked-s.given)
	s.given += checks
	return at, checks, real
}

// over reports whether the search has come to its end.
func (s *genFarSearch) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found != nil || s.err != nil
}

// heard takes in how far a share is.
func (s *genFarSearch) heard(at, ran int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran += ran - s.under[at]
	s.under[at] = ran
	if report := s.far.v.target.Report; report != nil {
		report.Progress("generic", s.subtest, s.ran, s.asked)
	}
}

// take takes in what came of a share.
func (s *genFarSearch) take(at, checks int, real bool, said *genSaid, err error) {
	if err == nil && said.Ran > 0 {
		s.heard(at, said.Ran)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if err != errGenStopped && s.err == nil {
			s.err = err
		}
		return
	}
	s.total.add(said.Traffic)
	s.instrumented = s.instrumented || said.Instrumented
	f, err := said.Finding.finding()
	switch {
	case err != nil:
		s.err = err
	case f != nil && f.deadly && !f.unfit && s.far.v.target.knows(f.violation.Rule):
		s.total.known++
		s.given -= checks - s.under[at] - 1 // the others go to another child
		s.ran++
	case f != nil && (s.found == nil || at < s.at):
		s.found, s.at, s.real = f, at, real
	}
}

// genMix returns a seed that depends on both.
func genMix(seed, n uint64) uint64 {
	mixed := rand.New(rand.NewPCG(seed, n)).Uint64()
	return max(mixed, 1) // 0 would let rapid draw one
}

// replay does what a script says, in a child, and returns what it finds.
func (f *genFar) replay(t *testing.T, s *genScript) *genFinding {
	t.Helper()
	found, _, err := f.once(t.Context(), s, false)
	if err != nil {
		t.Fatalf("props: %s: %v", f.v.target.Name, err)
	}
	return found
}

// once replays a script once and returns what it finds and cost.
func (f *genFar) once(ctx context.Context, s *genScript, hasty bool) (*genFinding, int, error) {
	ask := &genAsk{Do: genReplayIt, Script: s.String(), Real: f.v.target.RealTime || s.racing, Hasty: hasty}
	if s.scheduled && hasty {
		ask.Tries = genSchedDrawn
	}
	said, err := f.ask(ctx, ask, nil)
	if err != nil {
		return nil, 0, err
	}
	found, err := said.Finding.finding()
	return found, said.Traffic.cost(), err
}

// shrink makes a finding short: in a child, unless it takes the child along; then script by
// script, each in a child that may die of it.
func (f *genFar) shrink(t *testing.T, found *genFinding, until time.Time) *genFinding {
	t.Helper()
	best := found
	if !found.deadly && !found.racing {
		ask := &genAsk{Do: genShrinkIt, Finding: found.wire(), Real: f.v.target.RealTime}
		if !until.IsZero() {
			ask.Budget = max(time.Until(until), time.Millisecond)
		}
		said, err := f.ask(t.Context(), ask, func(said *genSaid) {
			if better, err := said.Finding.finding(); err == nil && better != nil {
				best = better
			}
		})
		if err != nil {
			t.Fatalf("props: %s: %v", f.v.target.Name, err)
		}
		if said.Done {
			shrunk, err := said.Finding.finding()
			if err != nil {
				t.Fatalf("props: %s: %v", f.v.target.Name, err)
			}
			return shrunk
		}
	}
	s := &genShrinker{best: best, greedy: true, slow: f.v.target.RealTime || best.racing, until: until, better: func(*genFinding) {}}
	s.script = func(ops []genOp, hasty bool) (*genFinding, int) {
		script := s.best.source(f.v.target.Name)
		script.ops = ops
		f, cost, err := f.once(t.Context(), &script, hasty)
		if err != nil {
			return nil, genForSteps // no more
		}
		return f, cost
	}
	return s.shrink()
}
