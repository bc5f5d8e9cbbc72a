package props_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/pool/pooltest/broken"
	"github.com/poolproof/poolproof/props"
)

const racedEnv = "POOLPROOF_TEST_RACED"

// raced are faults that Race must object to, with what it says.
func raced() map[string]struct {
	fault broken.Fault
	want  string
} {
	return map[string]struct {
		fault broken.Fault
		want  string
	}{
		"starts over max":      {broken.StartsOverMax, "breaks I2: "},
		"stops twice":          {broken.StopsTwice, "breaks I3: "},
		"busy session moves":   {broken.BusySessionMoves, ": I8: "},
		"lost session rebinds": {broken.LostSessionRebinds, ": I8: "},
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
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("got %v, want a failure with %q\n%s", err, c.want, out)
			}
		})
	}
}
