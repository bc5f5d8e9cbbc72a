package props_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
// on a while later. Only the times of calls show that.
type tardy struct {
	props.Subject
	passing *sync.WaitGroup
}

func (p tardy) Retire(id pool.WorkerID, cause error) {
	p.passing.Go(func() {
		time.Sleep(300 * time.Microsecond)
		p.Subject.Retire(id, cause)
	})
}

func (p tardy) Close() error {
	p.passing.Wait()
	return p.Subject.Close()
}

// openTardy opens it without an Observer, which would tell of every change as it happens.
func openTardy(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
	cfg.Observer = nil
	p, err := props.OpenPool(cfg)
	return tardy{p, new(sync.WaitGroup)}, err
}

// hasty is a pool before which somebody stands who turns some acquires away because too many
// wait, although the pool has no limit.
type hasty struct {
	props.Subject
	calls *atomic.Int64
}

func (p hasty) AcquireSession(ctx context.Context, id pool.SessionID) (props.SubjectLease, error) {
	if p.calls.Add(1)%5 == 0 {
		return nil, pool.ErrSaturated
	}
	return p.Subject.AcquireSession(ctx, id)
}

func openHasty(cfg pool.Config[*props.FullWorker]) (props.Subject, error) {
	p, err := props.OpenPool(cfg)
	if cfg.MaxWaiters > 0 {
		return p, err
	}
	return hasty{p, new(atomic.Int64)}, err
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
		"retires late": {openTardy, []string{"Race"}, []string{"I3"}},
		"turns away":   {openHasty, []string{"Race"}, []string{"I7"}},
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
