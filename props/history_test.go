package props_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/linearize"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/props"
)

const unseenEnv = "POOLPROOF_TEST_UNSEEN"

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

// tardy is a pool before which somebody stands who answers at once and passes retirements
// or changes of size on a while later. Only the times of calls show that.
type tardy struct {
	props.Subject
	retires, resizes bool
	passing          *sync.WaitGroup
}

func (p tardy) later(f func()) {
	p.passing.Go(func() {
		time.Sleep(300 * time.Microsecond)
		f()
	})
}

func (p tardy) Retire(id pool.WorkerID, cause error) {
	if !p.retires {
		p.Subject.Retire(id, cause)
		return
	}
	p.later(func() { p.Subject.Retire(id, cause) })
}

func (p tardy) Resize(least, most int) error {
	if !p.resizes {
		return p.Subject.Resize(least, most)
	}
	p.later(func() { _ = p.Subject.Resize(least, most) })
	return nil
}

func (p tardy) Close() error {
	p.passing.Wait()
	return p.Subject.Close()
}

// openTardy opens it without an Observer, which would tell of every change as it happens.
func openTardy(retires, resizes bool) func(pool.Config[*props.FullWorker]) (props.Subject, error) {
	return func(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
		cfg.Observer = nil
		p, err := props.OpenPool(cfg)
		return tardy{p, retires, resizes, new(sync.WaitGroup)}, err
	}
}

// unseen are pools whose faults only a history shows, with the subtests that find them and
// the rule.
func unseen() map[string]struct {
	open     func(pool.Config[*props.FullWorker]) (props.Subject, error)
	subtests []string
	rules    []string
} {
	return map[string]struct {
		open     func(pool.Config[*props.FullWorker]) (props.Subject, error)
		subtests []string
		rules    []string
	}{
		"untold":       {openUntold, []string{"Race", "Scheduled"}, []string{"I15"}},
		"retires late": {openTardy(true, false), []string{"Race"}, []string{"I3"}},
		// More leases than the capacity, and as many orders to explain them: a search may
		// well say that the last of them came after a close.
		"resizes late": {openTardy(false, true), []string{"Race"}, []string{"I2", "I13"}},
	}
}

// TestInChildUnseen verifies one of them in a child process, where it is to fail.
func TestInChildUnseen(t *testing.T) {
	name := os.Getenv(unseenEnv)
	if name == "" {
		t.Skip("runs in a child process")
	}
	props.VerifyPool(t, props.PoolTarget{Name: name, Open: unseen()[name].open})
}

// TestHistoriesObject: Race and Scheduled find pools whose faults only a history shows, and
// name the files of the history and its page, which are there and say the same.
func TestHistoriesObject(t *testing.T) {
	for name, c := range unseen() {
		for _, subtest := range c.subtests {
			t.Run(name+"/"+subtest, func(t *testing.T) { objects(t, name, subtest, c.rules) })
		}
	}
}

func objects(t *testing.T, name, subtest string, rules []string) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestInChildUnseen$/^"+subtest+"$", "-rapid.checks=2000", "-rapid.seed=1")
	cmd.Env = append(os.Environ(), unseenEnv+"="+name, "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	broken := regexp.MustCompile(`breaks (I\d+): the history shows`).FindStringSubmatch(string(out))
	if err == nil || broken == nil || !slices.Contains(rules, broken[1]) {
		t.Fatalf("got %v, want a failure with what the history shows of %s\n%s", err, rules, out)
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
	if v := linearize.Judge(t.Context(), h, linearize.Budget{}); v.Result != linearize.Illegal || v.Rule != broken[1] {
		t.Errorf("the file is judged %s, want %s", &v, broken[1])
	}
	if want := "go test -run '^TestInChildUnseen$/^" + subtest + "$' -rapid.seed=1 -rapid.checks=2000"; h.Head.Replay != want {
		t.Errorf("the head says %q, want %q", h.Head.Replay, want)
	}
	if content, err := os.ReadFile(page[1]); err != nil || !strings.Contains(string(content), "<html") {
		t.Errorf("the page: %v, %d bytes", err, len(content))
	}
}
