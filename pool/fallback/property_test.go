package fallback_test

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool/fallback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openChain(cfg fallback.Config[worker]) (subject, error) { return fallback.New(cfg) }

// leastScripts is how many scripts are run, if rapid.checks does not say more.
const leastScripts = 2000

func atLeast(t *testing.T) {
	if n, err := strconv.Atoi(flag.Lookup("rapid.checks").Value.String()); err != nil || n < leastScripts {
		t.Cleanup(setFlags(map[string]string{"rapid.checks": strconv.Itoa(leastScripts)}))
	}
}

// L12, L36: a chain does what the model says, whatever its layers do.
func TestChainFollowsTheModel(t *testing.T) {
	atLeast(t)
	if runs := follow(t, t, openChain); runs < leastScripts/5 { // what is left under -short
		t.Errorf("%d scripts were run, want %d at least", runs, leastScripts/5)
	}
}

// The plain chain follows the model too, and each of its faults is found.
func TestModelFindsPlantedFaults(t *testing.T) {
	open := func(f fault) func(fallback.Config[worker]) (subject, error) {
		return func(cfg fallback.Config[worker]) (subject, error) { return newPlain(cfg, f), nil }
	}
	atLeast(t)
	t.Run("none", func(t *testing.T) { follow(t, t, open(noFault)) })
	defer setFlags(map[string]string{"rapid.checks": "50000", "rapid.nofailfile": "true", "rapid.shrinktime": "100ms", "rapid.seed": "1"})()
	for _, f := range faults {
		t.Run(string(f), func(t *testing.T) {
			tb := &recorder{TB: t}
			runs := tb.check(func() int { return follow(t, tb, open(f)) })
			if !tb.failed {
				t.Fatalf("not found in %d scripts", runs)
			}
			t.Logf("%s", tb.log.String())
		})
	}
}

// follow runs drawn scripts, in bubbles of t; tb fails if one goes wrong. It returns how
// many were run.
func follow(t *testing.T, tb rapid.TB, open func(fallback.Config[worker]) (subject, error)) (runs int) {
	keeper := recorded.NewKeeper(t)
	rapid.Check(tb, func(rt *rapid.T) {
		s := drawScript(rt)
		runs++
		if err := runScript(t, keeper, s, open); err != nil {
			rt.Fatalf("%v\n%v", err, s)
		}
	})
	return runs
}

// recorder is a test that may fail without harm.
type recorder struct {
	rapid.TB
	failed bool
	log    strings.Builder
}

// stop is what FailNow panics with.
type stop struct{}

// check runs f until it returns or fails.
func (r *recorder) check(f func() int) (n int) {
	defer func() {
		if p := recover(); p != nil && p != any(stop{}) {
			panic(p)
		}
	}()
	return f()
}

func (r *recorder) Logf(format string, args ...any) { fmt.Fprintf(&r.log, format+"\n", args...) }
func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	r.FailNow()
}

func (r *recorder) FailNow() {
	r.failed = true
	panic(stop{})
}
func (r *recorder) Fail()        { r.failed = true }
func (r *recorder) Failed() bool { return r.failed }

// setFlags sets flags and returns what sets them back.
func setFlags(values map[string]string) (restore func()) {
	old := map[string]string{}
	for name, value := range values {
		old[name] = flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	return func() {
		for name, value := range old {
			_ = flag.Set(name, value)
		}
	}
}
