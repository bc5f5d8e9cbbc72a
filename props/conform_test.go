package props_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

// conformDeep adds the large graphs, and looks for every fault in every small one.
var conformDeep = flag.Bool("conform.deep", false, "go through large graphs too; takes many minutes")

// conformCase is a graph to go through.
type conformCase struct {
	name string
	set  func(c *model.Config)
}

// config returns the configuration: two workers, two clients and a session that can do
// everything, but for what the case says.
func (c *conformCase) config() *model.Config {
	cfg := &model.Config{MaxSize: 2, Clients: 2, Sessions: 1, BackoffMin: 1, Offer: model.OfferAll()}
	c.set(cfg)
	return cfg
}

// conformSmall returns the graphs of make test, each with other features.
func conformSmall() []conformCase {
	return []conformCase{
		{"one worker", func(c *model.Config) { c.MaxSize, c.Sessions, c.SessionTTL, c.BackoffMax = 1, 2, 2, 2 }},
		{"timeouts", func(c *model.Config) {
			c.MaxSize, c.Clients, c.AcquireTimeout, c.StartTimeout, c.StopTimeout, c.BackoffMax = 1, 3, 2, 2, 2, 2
		}},
		{"one start", func(c *model.Config) { c.Clients, c.Affinity, c.StartConcurrency = 3, model.Sticky, 1 }},
		{"limits", func(c *model.Config) { c.Sessions, c.SessionTTL, c.MaxWaiters, c.MaxSessions = 2, 1, 1, 1 }},
		{"room", func(c *model.Config) { c.Sessions, c.MaxSessionsPerWorker = 2, 1 }},
		{"prefer", func(c *model.Config) { c.Sessions, c.Affinity, c.SessionTTL = 2, model.Prefer, 1 }},
		{"resize", func(c *model.Config) { c.Offer.Resizes = []model.Size{{Min: 0, Max: 1}, {Min: 1, Max: 2}} }},
		{"checks", func(c *model.Config) {
			c.HasCheck, c.HealthCheckPeriod, c.HealthCheckFailures, c.Offer.Force = true, 1, 2, false
		}},
		{"telling", func(c *model.Config) { c.Affinity, c.HasTell, c.HealthCheckFailures = model.Sticky, true, 2 }},
		{"idle time", func(c *model.Config) { c.MaxIdleTime = 2 }},
		{"lifetime", func(c *model.Config) { c.MaxLifetime, c.SessionTTL = 2, 1 }},
		{"leases", func(c *model.Config) { c.MaxLeases, c.SessionTTL = 2, 1 }},
		{"strict", func(c *model.Config) { c.Sessions, c.SessionTTL = 2, 2 }},
	}
}

// conformLarge returns the graphs of make conform.
func conformLarge() []conformCase {
	return []conformCase{
		// When MinSize keeps an idle worker, nobody sees that its idle time begins anew.
		{"least idle", func(c *model.Config) { c.MaxIdleTime, c.MinSize = 2, 1 }},
		{"full strict", func(c *model.Config) { *c = *props.CoverageConfig() }},
		{"full sticky", func(c *model.Config) { *c = *props.CoverageConfig(); c.Affinity = model.Sticky }},
		{"full prefer", func(c *model.Config) { *c = *props.CoverageConfig(); c.Affinity = model.Prefer }},
		{"everything", func(c *model.Config) {
			c.Clients, c.SessionTTL, c.StopTimeout, c.AcquireTimeout, c.Affinity = 3, 2, 1, 1, model.Sticky
			c.HasCheck, c.HealthCheckPeriod, c.HasTell, c.MaxLeases, c.MaxWaiters, c.MaxSessions = true, 2, true, 2, 1, 1
		}},
		{"three workers", func(c *model.Config) {
			c.MaxSize, c.StartConcurrency, c.Clients = 3, 2, 3
			c.Offer.Unusable, c.Offer.Discards = false, false
		}},
	}
}

// TestConform goes through every pair of the graphs on the pool. How many exist and how
// many a pool can be brought to is in testdata/conform.txt; it changes only with the model,
// or with the choices that the pool makes.
func TestConform(t *testing.T) {
	conformAll(t, conformSmall(), "testdata/conform.txt", true)
	if *conformDeep {
		conformAll(t, conformLarge(), "testdata/conform_deep.txt", false)
	}
}

// conformAll goes through graphs, two at once, and compares the counts with the golden
// file. If all is set no pair may be beyond the pool's choices.
func conformAll(t *testing.T, cases []conformCase, golden string, all bool) {
	lines := make([]string, len(cases))
	t.Run(golden[len("testdata/"):], func(t *testing.T) {
		for i := range cases {
			c := &cases[i]
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				target := props.PoolTarget{Name: "pool", Open: props.OpenPool, Config: c.config()}
				r := props.Conform(t, target, props.ConformBounds{Again: 3})
				t.Log(&r)
				for _, edge := range r.Untaken[:min(3, len(r.Untaken))] {
					t.Logf("a choice that the pool never made:\n%v", edge)
				}
				if all && r.Beyond() > 0 {
					t.Errorf("%d pairs are beyond the pool's choices, want none", r.Beyond())
				}
				lines[i] = fmt.Sprintf("%s: %d states, %d pairs, %d done\n", c.name, r.States, r.Pairs, r.PairsDone)
			})
		}
	})
	compareGolden(t, golden, strings.Join(lines, ""))
}

// compareGolden compares a text with a file, or writes it with -update.
func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *updateTraces {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\n%s has:\n%s", got, file, want)
	}
}

// TestConformPlainPool: the second pool, which chooses otherwise, conforms as well.
func TestConformPlainPool(t *testing.T) {
	c := conformSmall()[0]
	r := props.Conform(t, props.PoolTarget{Name: "plain", Open: openPlain(broken.None), Config: c.config()}, props.ConformBounds{Again: 3})
	if r.PairsDone != r.Pairs {
		t.Errorf("%v, want all pairs", &r)
	}
}

// TestConformFindsFaults goes through a graph on every broken pool, until what it sees is
// not what the model allows. testdata/conform_faults.txt says which graph finds which
// fault; with -conform.deep it is compared with the first graph that does.
func TestConformFindsFaults(t *testing.T) {
	const file = "testdata/conform_faults.txt"
	golden, err := os.ReadFile(file)
	if err != nil && !*updateTraces {
		t.Fatal(err)
	}
	where := map[string]string{}
	for line := range strings.Lines(string(golden)) {
		fault, graph, _ := strings.Cut(strings.TrimSpace(line), ": ")
		where[fault] = graph
	}
	faults := broken.Faults()
	lines := make([]string, len(faults))
	t.Run("each", func(t *testing.T) {
		for i, info := range faults {
			t.Run(info.Name, func(t *testing.T) {
				t.Parallel()
				lines[i] = info.Name + ": " + conformFault(t, info, where[info.Name]) + "\n"
			})
		}
	})
	compareGolden(t, file, strings.Join(lines, ""))
}

// conformFault returns the name of the graph that finds a fault, "" if none does.
func conformFault(t *testing.T, info broken.Info, where string) string {
	for _, c := range conformSmall() {
		if c.name != where && !*conformDeep {
			continue
		}
		r := props.ConformHunt(t, props.PoolTarget{Name: info.Name, Open: openPlain(info.Fault), Config: c.config()}, props.ConformBounds{})
		if r.Finding == nil {
			continue
		}
		t.Logf("%s: after %d pools and %d operations, %s; %d operations\n%s", c.name, r.Pools, r.Operations, r.Finding.Message, r.Finding.Length, r.Finding.Script)
		return c.name
	}
	return ""
}

// TestConformTraceReplays: the trace of a finding is one that ReplayTrace reads, and that a
// correct pool follows to its end.
func TestConformTraceReplays(t *testing.T) {
	c := conformSmall()[0]
	r := props.ConformHunt(t, props.PoolTarget{Name: "panic-loses-slot", Open: openPlain(broken.PanicLosesSlot), Config: c.config()}, props.ConformBounds{})
	if r.Finding == nil || r.Finding.Length > 6 {
		t.Fatalf("want a finding of at most 6 operations: %v", &r)
	}
	_, trace, ok := strings.Cut(r.Finding.Script, "trace:\n")
	if !ok || !strings.Contains(trace, "variant=") {
		t.Fatalf("there is no trace that says how a hook panics:\n%s", r.Finding.Script)
	}
	got := props.ReplayTrace(t, props.PoolTarget{Name: "pool", Open: props.OpenPool}, trace)
	if strings.Count(got, "----") != strings.Count(trace, "----") {
		t.Errorf("got:\n%s\nof:\n%s", got, trace)
	}
}

// TestConformNewPool: a pool that is wrong from its beginning is found without a step.
func TestConformNewPool(t *testing.T) {
	cfg := (&conformCase{set: func(c *model.Config) { c.MinSize, c.MaxSize = 1, 1 }}).config()
	lazy := func(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
		cfg.MinSize = 0
		return props.OpenPool(cfg)
	}
	r := props.ConformHunt(t, props.PoolTarget{Name: "lazy", Open: lazy, Config: cfg}, props.ConformBounds{})
	if r.Finding == nil || r.Finding.Rule != "I5" || r.Finding.Length != 0 || r.PairsDone != 0 {
		t.Errorf("got %v, want a finding of no operations", &r)
	}
}

// TestConformMisses: pairs that the bounds keep it from are told.
func TestConformMisses(t *testing.T) {
	c := conformSmall()[0]
	r := props.ConformHunt(t, props.PoolTarget{Name: "pool", Open: props.OpenPool, Config: c.config()}, props.ConformBounds{WalkOps: 2})
	if r.Finding != nil || r.Missed == 0 || r.Beyond() == 0 || r.PairsDone+r.Missed+r.Beyond() != r.Pairs {
		t.Errorf("got %v, want pairs missed in states that were met and others beyond", &r)
	}
}
