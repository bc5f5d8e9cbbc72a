package props

import (
	"fmt"
	"testing"
	"time"

	"github.com/poolproof/poolproof/model"
)

// ConformBounds limit what [Conform] does.
type ConformBounds struct {
	// MaxStates is the most states that the graph may have. Zero is no limit.
	MaxStates int
	// WalkOps is the most operations done on one pool. Zero means 200.
	WalkOps int
	// Again is how many more times an operation is done that could have led elsewhere than
	// was seen. Zero: not again.
	Again int
}

// ConformResult says how much of the model's graph a pool has gone through. A pair is a
// state and an operation that is possible in it; an edge is a pair and a state that it can
// lead to. States are counted up to renaming of workers, sessions and clients.
type ConformResult struct {
	Report *model.Report // of the exploration

	States, StatesMet int
	Pairs, PairsDone  int
	Edges, EdgesSeen  int
	Missed            int // pairs of states that were met which were not done
	Untaken           []ConformEdge

	Pools      int // that were opened
	Operations int // done, those on the way and those that change nothing included
	Unsure     int // operations after which the pool could have been in several states
	Elapsed    time.Duration

	Finding *Finding // nil if the pool conforms
}

// ConformEdge is a way in which the model allows an operation to end, and in which it never
// ended on the pool although the operation was done.
type ConformEdge struct {
	State model.State
	Op    model.Op
	To    model.State
}

// String writes the edge on three lines.
func (e ConformEdge) String() string {
	return fmt.Sprintf("in    %v\ndo    %v\nnever %v", &e.State, e.Op, &e.To)
}

// Beyond is the number of pairs of states in which no pool ever was: only choices that it
// did not make lead there.
func (r *ConformResult) Beyond() int { return r.Pairs - r.PairsDone - r.Missed }

// String writes the counts on one line, and the finding after it.
func (r *ConformResult) String() string {
	text := fmt.Sprintf("%d of %d pairs, %d of %d states, %d of %d edges; %d pools, %d operations in %v",
		r.PairsDone, r.Pairs, r.StatesMet, r.States, r.EdgesSeen, r.Edges, r.Pools, r.Operations, r.Elapsed.Round(time.Millisecond))
	if r.Missed > 0 {
		text += fmt.Sprintf(", %d pairs missed", r.Missed)
	}
	if r.Unsure > 0 {
		text += fmt.Sprintf(", %d times unsure", r.Unsure)
	}
	if r.Finding != nil {
		text += "\n" + r.Finding.Message + "\n\n" + r.Finding.Script
	}
	return text
}

// Conform goes through the whole graph of the model with target.Config, which must be set,
// on the pool: each operation that the graph has in a state is done at least once on a pool
// that is in this state, and judged by the model; what a hook or a caller sees has to be
// what the model allows. In each state, acquires whose context is done and second releases
// must change nothing besides.
//
// Pools run in testing/synctest bubbles and are driven on walks as long as they meet pairs
// that are left. Where the model leaves a choice free the pool makes it, and the walk goes
// on from there: which choices it never made the result tells.
//
// t fails if the pool does not conform, with the shortest trace that was found, and if a
// pair was missed in a state that a pool was in. [ReplayTrace] replays the trace.
func Conform(t *testing.T, target PoolTarget, bounds ConformBounds) ConformResult {
	t.Helper()
	r := conform(t, &target, bounds)
	if r.Finding != nil {
		t.Errorf("%s does not conform: %v", target.Name, &r)
	} else if r.Missed > 0 {
		t.Errorf("%s: %d pairs of states that were met were not done: %v", target.Name, r.Missed, &r)
	}
	return r
}

// ConformHunt is [Conform] with a pool that is expected to be wrong: t does not fail.
func ConformHunt(t *testing.T, target PoolTarget, bounds ConformBounds) ConformResult {
	t.Helper()
	return conform(t, &target, bounds)
}

func conform(t *testing.T, target *PoolTarget, bounds ConformBounds) ConformResult {
	t.Helper()
	if target.Config == nil || target.RealTime {
		t.Fatal("props: conformance needs a Config, and virtual time")
	}
	begin := time.Now()
	g, err := model.NewGraph(target.complete(target.Config), model.Bounds{MaxStates: bounds.MaxStates})
	if err != nil {
		t.Fatal(err)
	}
	if bounds.WalkOps == 0 {
		bounds.WalkOps = 200
	}
	c := &conformer{target: target, graph: g, plan: newConformPlan(g), bounds: bounds}
	c.run(t)
	r := c.result()
	r.Elapsed = time.Since(begin)
	return r
}

// result counts.
func (c *conformer) result() ConformResult {
	g, p := c.graph, c.plan
	r := ConformResult{
		Report: g.Report(), States: g.States(), StatesMet: len(p.met), Pairs: g.Pairs(), Edges: g.Edges(),
		Pools: c.pools, Operations: c.operations, Unsure: c.unsure, Finding: c.finding,
	}
	for n := range g.States() {
		for pair, end := g.PairsOf(n); pair < end; pair++ {
			switch {
			case p.went[pair] != conformNever:
				r.PairsDone++
			case p.come[n].depth >= 0:
				r.Missed++
			}
			for edge, last := g.EdgesOf(pair); edge < last; edge++ {
				if p.seen[edge] {
					r.EdgesSeen++
				} else if p.went[pair] != conformNever {
					r.Untaken = append(r.Untaken, ConformEdge{g.State(n), g.Op(pair), g.State(g.To(edge))})
				}
			}
		}
	}
	return r
}
