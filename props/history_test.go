package props_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/props"
)

const untoldEnv = "POOLPROOF_TEST_UNTOLD"

// openUntold opens our pool with an Observer that is not told of some grants: no client and
// no factory can see that, only who holds what is reported beside what was called.
func openUntold(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
	if told := cfg.Observer; told != nil {
		cfg.Observer = func(e pool.Event) {
			if e.Kind != pool.LeaseGranted || e.Token%3 != 0 {
				told(e)
			}
		}
	}
	return props.OpenPool(cfg)
}

// TestInChildUntold verifies that pool in a child process, where it is to fail.
func TestInChildUntold(t *testing.T) {
	if os.Getenv(untoldEnv) == "" {
		t.Skip("runs in a child process")
	}
	props.VerifyPool(t, props.PoolTarget{Name: "untold", Open: openUntold})
}

// TestHistoriesObject: Race and Scheduled find a pool whose fault only a history shows, and
// name the files of the history and its page, which are there and say the same.
func TestHistoriesObject(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, subtest := range []string{"Race", "Scheduled"} {
		t.Run(subtest, func(t *testing.T) {
			cmd := exec.Command(exe, "-test.run=^TestInChildUntold$/^"+subtest+"$", "-rapid.checks=2000", "-rapid.seed=1")
			cmd.Env = append(os.Environ(), untoldEnv+"=1", "TMPDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "breaks I15: the history shows") {
				t.Fatalf("got %v, want a failure with what the history shows of I15\n%s", err, out)
			}
			file := regexp.MustCompile(`poolproof judge (\S+)`).FindStringSubmatch(string(out))
			page := regexp.MustCompile(`drawn in (\S+)`).FindStringSubmatch(string(out))
			if file == nil || page == nil {
				t.Fatalf("no command or no page is named:\n%s", out)
			}
			h, err := linearize.ReadFile(file[1])
			if err != nil {
				t.Fatal(err)
			}
			if v := linearize.Judge(t.Context(), h, linearize.Budget{}); v.Result != linearize.Illegal || v.Rule != "I15" {
				t.Errorf("the file is judged %s, want I15", &v)
			}
			if content, err := os.ReadFile(page[1]); err != nil || !strings.Contains(string(content), "<html") {
				t.Errorf("the page: %v, %d bytes", err, len(content))
			}
		})
	}
}
