package props_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

const unfaithfulEnv = "POOLPROOF_TEST_UNFAITHFUL"

func TestVerifyAffinity(t *testing.T) {
	props.VerifyAffinity(t, props.PoolTarget{Name: "pool", Open: props.OpenPool})
}

func TestVerifyAffinityOfPlainPool(t *testing.T) {
	props.VerifyAffinity(t, props.PoolTarget{Name: "plain", Open: openPlain(broken.None)})
}

// endless is a pool whose sessions do not end when they are told to.
type endless struct{ props.Subject }

func (endless) EndSession(pool.SessionID) {}

// unfaithful are pools that are wrong with sessions, with the affinity under which that
// shows and what is said of it.
func unfaithful() map[string]struct {
	open    func(pool.Config[*props.FullWorker]) (props.Subject, error)
	subtest string
	want    string
} {
	type row = struct {
		open    func(pool.Config[*props.FullWorker]) (props.Subject, error)
		subtest string
		want    string
	}
	return map[string]row{
		"lost binding":       {openPlain(broken.BusySessionMoves), "sticky", "breaks I8: "},
		"bound twice":        {openPlain(broken.FirstCallsBindTwice), "strict", "breaks I8: "},
		"wrong incarnation":  {openPlain(broken.LostSessionRebinds), "strict", "breaks I8: "},
		"prefer ignored":     {openPlain(broken.PreferAlwaysMoves), "prefer", "breaks I8: "},
		"fresh not told":     {openPlain(broken.FreshForgotten), "sticky", "breaks I8: "},
		"time ends too late": {openPlain(broken.TTLBySweep), "strict", "breaks I9: "},
		"end ignored": {func(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
			p, err := props.OpenPool(cfg)
			return endless{p}, err
		}, "sticky", "breaks I8: "},
		"time ignored": {func(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
			cfg.SessionTTL = 0
			return props.OpenPool(cfg)
		}, "strict", "breaks I9: "},
	}
}

// TestInChildUnfaithful verifies one of them in a child process, where it is to fail.
func TestInChildUnfaithful(t *testing.T) {
	name := os.Getenv(unfaithfulEnv)
	if name == "" {
		t.Skip("runs in a child process")
	}
	props.VerifyAffinity(t, props.PoolTarget{Name: "unfaithful", Open: unfaithful()[name].open})
}

// TestVerifyAffinityObjects: VerifyAffinity finds pools that are wrong with sessions, for
// the right reason, and keeps the history that shows it.
func TestVerifyAffinityObjects(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range unfaithful() {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(exe, "-test.run=^TestInChildUnfaithful$/^"+c.subtest+"$", "-rapid.checks=2000", "-rapid.seed=1")
			cmd.Env = append(os.Environ(), unfaithfulEnv+"="+name, "TMPDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Fatalf("got %v, want a failure with %q\n%s", err, c.want, out)
			}
			file := regexp.MustCompile(`poolproof judge (\S+)`).FindStringSubmatch(string(out))
			if file == nil {
				t.Fatalf("no command is named:\n%s", out)
			}
			if _, err := os.Stat(file[1]); err != nil {
				t.Error(err)
			}
		})
	}
}
