package props

import (
	"math/rand/v2"
	"testing"

	"github.com/poolproof/poolproof/model"
)

// CoverageConfig returns the configuration in which the coverage of the model is counted:
// two workers, two sessions and three clients, with crashes, starts that fail and back off,
// timeouts, Resize, SessionTTL and forced shutdown. TestExplore enumerates it as "strict".
func CoverageConfig() *model.Config {
	return &model.Config{
		MaxSize: 2, Clients: 3, Sessions: 2,
		SessionTTL: 2, BackoffMin: 1, BackoffMax: 2, StartTimeout: 2, StopTimeout: 2, AcquireTimeout: 2,
		Offer: model.OfferAll(model.Size{Max: 1}, model.Size{Max: 2}, model.Size{Min: 1, Max: 2}, model.Size{Min: 2, Max: 2}),
	}
}

// Cover runs the machine of Sequential on a pool with random steps, as often as checks
// says, and counts in coverage what is done from which state. The target's Config must be
// that of the coverage. The steps follow from the seed alone; three in four of them prefer
// an operation that was never done in such a state, or that leads where few have been. It
// returns how many checks were done, and how many operations in them.
func Cover(t *testing.T, target PoolTarget, coverage *model.Coverage, checks int, seed uint64) (executed, operations int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	memory := &fullMemo{cfg: target.complete(target.Config), done: map[model.Pair]bool{}, been: map[model.Key]int{}}
	for i := range checks {
		m := target.machine(coverage)
		m.memory = memory
		if i%2 > 0 {
			m.omit = random.Uint32()
		}
		for random.Uint64N(fullCoverSteps) > 0 {
			x := random.Uint64()
			m.steps = append(m.steps, fullStep{kind: uint8(x & 127), pick: uint8(x >> 8 & 31), variant: uint8(x >> 16 & 3)})
		}
		if err := target.judge(t, m); err != nil {
			t.Fatalf("check %d of seed %d: %v\n\n%s", i, seed, err, m.report())
		}
		executed++
		operations += m.length()
		if target.Report != nil {
			target.Report.Progress("full", "Coverage", executed, checks)
		}
	}
	return executed, operations
}

// fullCoverSteps is the mean number of steps of a check in Cover.
const fullCoverSteps = 60

// fullMemo remembers what was done before.
type fullMemo struct {
	cfg   *model.Config
	done  map[model.Pair]bool
	been  map[model.Key]int
	nexts []model.Next
}

// prefer returns the operations that were never done in such a state or, if there are
// none, those that lead where few have been.
func (o *fullMemo) prefer(at *model.State, possible []model.Op) []model.Op {
	pair := model.Pair{State: model.Abstract(o.cfg, at)}
	o.been[pair.State]++
	best := make([]model.Op, 0, len(possible))
	for _, op := range possible {
		if pair.Class = model.ClassOf(at, op); op.Kind <= model.OpTick && !o.done[pair] {
			best = append(best, op)
		}
	}
	if len(best) > 0 {
		return best
	}
	fewest := 0
	for _, op := range possible {
		o.nexts = model.AppendStep(o.nexts[:0], o.cfg, at, op)
		for i := range o.nexts {
			been := o.been[model.Abstract(o.cfg, &o.nexts[i].State)]
			if len(best) == 0 || been < fewest {
				best, fewest = best[:0], been
			}
			if been == fewest {
				best = append(best, op)
			}
		}
	}
	return best
}

// did remembers an operation.
func (o *fullMemo) did(at *model.State, op model.Op) {
	o.done[model.Pair{State: model.Abstract(o.cfg, at), Class: model.ClassOf(at, op)}] = true
}

// machine returns a machine for the target's own configuration that counts in coverage.
func (t *PoolTarget) machine(coverage *model.Coverage) *fullMachine {
	m := &fullMachine{target: t, cfg: t.complete(t.Config)}
	if coverage != nil {
		m.visit = coverage.Add
	}
	return m
}

// CoverMissing goes to each pair that coverage misses, by a shortest path, and does the
// pair's operation there. Where the pool is free to choose and leaves the path, it looks
// for another path from where the pool is. It returns the pairs that it did not reach.
func CoverMissing(t *testing.T, target PoolTarget, coverage *model.Coverage) (left []model.Pair) {
	t.Helper()
	for _, pair := range coverage.Missing() {
		m := target.machine(coverage)
		g := &fullGuide{cfg: m.cfg, to: pair}
		g.path = coverage.Path(pair)[1:]
		m.guide = g
		if err := target.judge(t, m); err != nil {
			t.Fatalf("on the way to %v: %v\n\n%s", pair, err, m.report())
		}
		if !g.arrived {
			left = append(left, pair)
		}
	}
	return left
}

// fullGuide leads a machine to a pair of an abstract state and an operation.
type fullGuide struct {
	cfg     *model.Config
	to      model.Pair
	path    []model.ScriptStep // still to go
	plans   int
	arrived bool
}

// most bounds of a search for another path: how often, and in how many states.
const (
	fullMostPlans  = 8
	fullMostStates = 60000
)

// next returns the next operation; false if the pair is reached or cannot be found.
func (g *fullGuide) next(at *model.State) (model.Op, bool) {
	if g.arrived || len(g.path) == 0 {
		return model.Op{}, false
	}
	op := g.path[0].Op
	g.path = g.path[1:]
	if len(g.path) == 0 {
		g.arrived = g.is(at, op)
	}
	return op, true
}

func (g *fullGuide) is(at *model.State, op model.Op) bool {
	return model.Pair{State: model.Abstract(g.cfg, at), Class: model.ClassOf(at, op)} == g.to
}

// came is told what the last operation showed. If that is not what the path says, or if it
// leads elsewhere, the guide plans anew.
func (g *fullGuide) came(at *model.State, shown, want []model.Event) {
	if g.arrived || len(g.path) > 0 && fullEventTexts(shown) == fullEventTexts(want) {
		return
	}
	if g.plans++; g.plans > fullMostPlans {
		g.path = nil
		return
	}
	g.path = g.plan(at)
}

// plan searches, breadth first, for a path from a state to the pair.
func (g *fullGuide) plan(from *model.State) []model.ScriptStep {
	type node struct {
		state  model.State
		step   model.ScriptStep
		before int
	}
	nodes := []node{{state: *from, before: -1}}
	known := map[model.State]bool{*from: true}
	var ops []model.Op
	var nexts []model.Next
	for i := 0; i < len(nodes) && len(nodes) < fullMostStates; i++ {
		at := nodes[i].state
		ops = model.Ops(g.cfg, &at, ops[:0])
		for _, op := range ops {
			if g.is(&at, op) {
				path := []model.ScriptStep{{Op: op}}
				for ; i > 0; i = nodes[i].before {
					path = append([]model.ScriptStep{nodes[i].step}, path...)
				}
				return path
			}
			nexts = model.AppendStep(nexts[:0], g.cfg, &at, op)
			for j := range nexts {
				n := &nexts[j]
				if known[n.State] {
					continue
				}
				known[n.State] = true
				nodes = append(nodes, node{n.State, model.ScriptStep{Op: op, Events: n.Events.All()}, i})
			}
		}
	}
	return nil
}

// lead drives a machine along the path.
func (g *fullGuide) lead(m *fullMachine) error {
	for {
		var want []model.Event
		if len(g.path) > 0 {
			want = g.path[0].Events
		}
		op, ok := g.next(&m.states[0])
		if !ok {
			return nil
		}
		if err := m.step(op, 0); err != nil {
			return err
		}
		g.came(&m.states[0], m.live.seen, want)
	}
}
