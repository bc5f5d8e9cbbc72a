package process_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// addressSpace is more than a program under the race detector maps.
const addressSpace = 1 << 50

func TestProcessRunsWithinItsLimits(t *testing.T) {
	umask, err := ownUmask()
	if err != nil {
		t.Fatal(err)
	}
	nice, err := ownNiceness()
	if err != nil {
		t.Fatal(err)
	}
	keepOpenFiles(t)
	cfg := roleConfig("limited")
	cfg.Dir = t.TempDir()
	cfg.AddressSpace, cfg.OpenFiles = addressSpace, 100
	cfg.Umask, cfg.Nice = new(fs.FileMode(0o027)), 3
	w := start(t, cfg)
	var got limits
	if err := w.Call(t.Context(), "limits", nil, &got); err != nil {
		t.Fatal(err)
	}
	if got.AddressSpace != addressSpace || got.OpenFiles != 100 || got.Core != 0 || got.Umask != "0027" || got.Dir != cfg.Dir {
		t.Errorf("got %+v, want AddressSpace %d, OpenFiles 100, Core 0, Umask 0027 and Dir %s", got, addressSpace, cfg.Dir)
	}
	if want := nice[0] + 3; slices.Min(got.Nice) != want || slices.Max(got.Nice) != want {
		t.Errorf("its threads have niceness %v, want %d", got.Nice, want)
	}
	if again, err := ownUmask(); again != umask {
		t.Errorf("the host's umask is %s after the start, want %s (%v)", again, umask, err)
	}
}

// keepOpenFiles has children start with the limit on descriptors that this process has,
// so that a Go program does not raise its own when it begins.
func keepOpenFiles(t *testing.T) {
	t.Helper()
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestProcessWithoutLimitsHasTheHosts(t *testing.T) {
	keepOpenFiles(t)
	want, err := ownLimits()
	if err != nil {
		t.Fatal(err)
	}
	cfg := roleConfig("limited")
	cfg.CoreDumps = true
	w := start(t, cfg)
	var got limits
	if err := w.Call(t.Context(), "limits", nil, &got); err != nil {
		t.Fatal(err)
	}
	// Threads of the host that served niced processes may not be gone yet.
	if slices.Max(got.Nice) != slices.Min(want.Nice) {
		t.Errorf("its threads have niceness %v, the host's %v", got.Nice, want.Nice)
	}
	got.Nice, want.Nice = nil, nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want the host's: %+v", got, want)
	}
}

// TestStartsLeaveTheHostAsItIs starts workers with limits of their own until threads must
// have been used again, were they not spoilt, and then one without.
func TestStartsLeaveTheHostAsItIs(t *testing.T) {
	want, err := ownLimits()
	if err != nil {
		t.Fatal(err)
	}
	cfg := roleConfig("demo")
	cfg.Umask, cfg.Nice = new(fs.FileMode(0o777)), 1
	for range 5 {
		w := start(t, cfg)
		if err := w.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "the host's threads have the niceness of before", func() bool {
		got, err := ownLimits()
		return err == nil && slices.Max(got.Nice) == slices.Max(want.Nice) && got.Umask == want.Umask
	})
	w := start(t, roleConfig("limited"))
	var got limits
	if err := w.Call(t.Context(), "limits", nil, &got); err != nil || got.Umask != want.Umask || slices.Max(got.Nice) != slices.Max(want.Nice) {
		t.Errorf("a worker without limits of its own has %+v, want %+v (%v)", got, want, err)
	}
}

// TestLimitThatIsDeniedFailsTheStart has a host that may not unshare, nor have other
// priorities.
func TestLimitThatIsDeniedFailsTheStart(t *testing.T) {
	checkLeftovers(t)
	host := exec.Command(self())
	host.Env = []string{roleVariable + "=denied", raceVariable}
	out, err := host.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"worker 1 not launched", "limit Umask: to spare the host's own", "operation not permitted",
		"worker 2 not launched", "limit Nice: setpriority: permission denied",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the host says:\n%s\nwant %q in it", out, want)
		}
	}
}

// playDenied tells how starts fail in a host that is denied what limits need.
func playDenied() {
	deny(unix.SYS_UNSHARE, unix.EPERM)
	deny(unix.SYS_SETPRIORITY, unix.EACCES)
	cfg := roleConfig("demo")
	for i, setting := range []func(){
		func() { cfg.Umask = new(fs.FileMode(0o077)) },
		func() { cfg.Umask, cfg.Nice = nil, -1 },
	} {
		setting()
		w, err := process.Start(context.Background(), cfg, pool.WorkerID(i+1))
		var failure *process.LaunchError
		if w != nil || !errors.As(err, &failure) || !errors.Is(err, fs.ErrPermission) {
			fmt.Printf("got worker %v and error %#v, want a *LaunchError because of a permission\n", w, err)
			os.Exit(1)
		}
		fmt.Println(err)
	}
}
