package props_test

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

const racedEnv = "POOLPROOF_TEST_RACED"

// raced are faults that Race must object to, with what it says, as a regular expression.
func raced() map[string]struct {
	fault broken.Fault
	want  string
} {
	return map[string]struct {
		fault broken.Fault
		want  string
	}{
		"starts over max": {broken.StartsOverMax, `breaks I2: `},
		"stops twice":     {broken.StopsTwice, `breaks I3: `},
		// Of a sticky session that moves a history may say that it came back to a worker
		// which, since it moved, must have been gone.
		"busy session moves":   {broken.BusySessionMoves, `: I8: |breaks (I8|I3): the history shows`},
		"lost session rebinds": {broken.LostSessionRebinds, `: I8: |breaks I8: the history shows`},
	}
}

// TestInChildRaced verifies one of them in a child process, where it is to fail.
func TestInChildRaced(t *testing.T) {
	name := os.Getenv(racedEnv)
	if name == "" {
		t.Skip("runs in a child process")
	}
	props.VerifyPool(t, props.PoolTarget{Name: "plain", Open: openPlain(raced()[name].fault)})
}

// Race objects to pools with a planted fault, for the right reason.
func TestVerifyPoolRace(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range raced() {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(exe, "-test.run=^TestInChildRaced$/^Race$", "-rapid.checks=10000", "-rapid.seed=1")
			cmd.Env = append(os.Environ(), racedEnv+"="+name, "TMPDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err == nil || !regexp.MustCompile(c.want).Match(out) {
				t.Errorf("got %v, want a failure that matches %q\n%s", err, c.want, out)
			}
		})
	}
}
