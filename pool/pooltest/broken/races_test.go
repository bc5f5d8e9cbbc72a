//go:build sched

package broken_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

// These tests are for 'make sched', which instruments this package.

const (
	racesChecks      = 5000 // within which each fault is found
	racesPreemptions = 2    // that it shrinks to, at most
	racesScripts     = "../../../testdata/schedules"
)

var (
	racesDeep   = flag.Bool("sched.deep", false, "run each correct variant 20,000 times; takes minutes")
	racesUpdate = flag.Bool("sched.update", false, "save the scripts of the faults found in testdata/schedules")
)

func raceTarget(info broken.Info) props.PoolTarget {
	cfg := configFor(info.Needs)
	cfg.Clients, cfg.Sessions = 3, 0
	offer, needs := &cfg.Offer, info.Needs
	offer.Tries, offer.Discards, offer.Cancels = false, false, needs.Cancel
	offer.Ticks = needs.SessionTTL || needs.AcquireTimeout || needs.Check
	if offer.Resizes == nil {
		offer.Resizes = []model.Size{} // nothing is offered but what the fault needs
	}
	if needs.Sessions {
		cfg.Sessions = 1
	}
	return props.PoolTarget{Name: info.Name, Config: cfg, Open: func(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
		p, err := broken.New(cfg, info.Fault)
		if err != nil {
			return nil, err
		}
		return props.SubjectOf(p, tally), nil
	}}
}

func TestRacesAreInstrumented(t *testing.T) {
	if !props.Instrumented(t, raceTarget(broken.Info{})) {
		t.Fatal("the plain pool is not instrumented; run make sched")
	}
}

// TestRaces: each fault is found, shrinks to a few preemptions, and comes out the same
// whenever its script is replayed, on one processor and on two. Nothing is found in the same
// pool without the fault.
func TestRaces(t *testing.T) {
	correct := 500
	if *racesDeep {
		correct = 20_000
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-26s %-6s %-5s %6s %5s %11s\n", "fault", "lesson", "rule", "checks", "lines", "preemptions")
	for _, info := range broken.Races() {
		t.Run(info.Name, func(t *testing.T) {
			target := raceTarget(info)
			f := props.HuntScheduled(t, target, racesChecks)
			if f.Subtest == "" {
				t.Fatalf("%s (%s) is not found within %d checks", info.Name, info.Text, racesChecks)
			}
			fmt.Fprintf(&table, "%-26s %-6s %-5s %6d %5d %11d\n", info.Name, info.Lesson, f.Rule, f.Checks, f.Length, f.Preemptions)
			if f.Preemptions > racesPreemptions {
				t.Errorf("it shrinks to %d preemptions, want at most %d:\n%s\n%s", f.Preemptions, racesPreemptions, f.Message, f.Script)
			}
			t.Logf("%s\n%s", f.Message, f.Script)
			sameEachTime(t, target, f)
			if *racesUpdate {
				text := fmt.Sprintf("# %s: %s.\n%s", info.Name, info.Text, f.Script)
				if err := os.WriteFile(raceScript(info), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			sound := info
			sound.Fault = broken.None
			if f := props.HuntScheduled(t, raceTarget(sound), correct); f.Subtest != "" {
				t.Errorf("without the fault: %s\n%s", f.Message, f.Script)
			}
		})
	}
	t.Logf("\n%s", table.String())
}

func raceScript(info broken.Info) string { return filepath.Join(racesScripts, info.Name+".txt") }

// TestRaceSchedules: the committed script of each fault finds it, and nothing without it.
func TestRaceSchedules(t *testing.T) {
	for _, info := range broken.Races() {
		script, err := os.ReadFile(raceScript(info))
		if err != nil {
			t.Error(err)
			continue
		}
		if r := props.RunScheduled(t, raceTarget(info), string(script)); r.Rule == "" || r.Rule == "unknown" || r.Preemptions > racesPreemptions {
			t.Errorf("%s: the script finds %q with %d preemptions; want a broken rule with %d at most", info.Name, r.Rule, r.Preemptions, racesPreemptions)
		}
		info.Fault = broken.None
		props.ReplayScheduled(t, raceTarget(info), string(script))
	}
}

// TestExhaustFindsARace: the exhaustive search finds a fault that needs one preemption with
// one, and goes through all schedules without any and finds nothing.
func TestExhaustFindsARace(t *testing.T) {
	const script = "config MaxSize=1 BackoffMin=1 Clients=3\nc1 acquire cancelled\n"
	target := raceTarget(broken.Info{Name: "cancel-after-look", Fault: broken.CancelAfterLook, Needs: broken.Needs{Cancel: true}})
	if e := props.ExhaustScheduled(t, target, script, 0, 0); !e.Complete || e.Finding.Subtest != "" {
		t.Errorf("without preemptions: complete %t, found %q in %d schedules; want all of them and nothing", e.Complete, e.Finding.Message, e.Schedules)
	}
	if e := props.ExhaustScheduled(t, target, script, 1, 0); e.Finding.Preemptions != 1 {
		t.Errorf("with one: found %+v in %d schedules, want a fault that takes one preemption", e.Finding, e.Schedules)
	}
}

// sameEachTime replays a finding ten times on one processor and ten times on two.
func sameEachTime(t *testing.T, target props.PoolTarget, f props.Finding) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var hash uint64
	for _, processors := range []int{1, 2} {
		runtime.GOMAXPROCS(processors)
		for range 10 {
			r := props.RunScheduled(t, target, f.Script)
			if r.Rule != f.Rule {
				t.Fatalf("a replay finds %q, want %s: %s", r.Rule, f.Rule, r.Message)
			}
			if hash == 0 {
				hash = r.Hash
			}
			if r.Hash != hash {
				t.Fatalf("with %d processors a replay has the hash %x, the first had %x", processors, r.Hash, hash)
			}
		}
	}
}
