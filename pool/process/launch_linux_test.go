package process_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

func TestLaunchFailuresNameWorkerAndCause(t *testing.T) {
	checkLeftovers(t)
	dir := t.TempDir()
	script := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("PATH", dir)
	for name, test := range map[string]struct {
		command string
		dir     string
		is      error
		says    string
	}{
		"missing":               {command: dir + "/absent", is: fs.ErrNotExist, says: "no such file"},
		"missing in PATH":       {command: "absent", is: fs.ErrNotExist, says: "not found in $PATH"},
		"not executable":        {command: script("plain", "#!/bin/sh\n", 0o644), is: fs.ErrPermission, says: "permission denied"},
		"a directory":           {command: dir, is: syscall.EISDIR, says: "is a directory"},
		"interpreter missing":   {command: script("lost", "#!/no/such/interpreter -x\n", 0o755), is: fs.ErrNotExist, says: `its interpreter, "/no/such/interpreter -x": no such file`},
		"interpreter forbidden": {command: script("shut", "#!/etc/passwd\n", 0o755), is: fs.ErrPermission, says: `its interpreter, "/etc/passwd": permission denied`},
		"no program":            {command: script("text", "hello\n", 0o755), is: syscall.ENOEXEC, says: "exec format error"},
		"Dir missing":           {command: "/bin/true", dir: dir + "/absent", is: fs.ErrNotExist, says: "working directory: stat " + dir + "/absent: no such file"},
		"Dir a file":            {command: "/bin/true", dir: "/etc/passwd", is: syscall.ENOTDIR, says: "working directory: chdir /etc/passwd: not a directory"},
		"arguments too long":    {command: "/bin/true", dir: strings.Repeat("x/", 1<<12), is: syscall.ENAMETOOLONG, says: "file name too long"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := process.Start(t.Context(), process.Config{Command: []string{test.command, "x"}, Dir: test.dir}, 7)
			var launch *process.LaunchError
			if !errors.As(err, &launch) || launch.ID != 7 || launch.Command != test.command || !errors.Is(err, test.is) {
				t.Fatalf("got %#v, want *LaunchError of worker 7, command %q, because of %v", err, test.command, test.is)
			}
			text := err.Error()
			if !strings.HasPrefix(text, `process: worker 7 not launched: "`) || !strings.Contains(text, test.says) {
				t.Errorf("got %s; want worker and program, and %q", text, test.says)
			}
		})
	}
}

func TestRelativeProgramIsTheHosts(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Symlink(self(), "worker"); err != nil {
		t.Fatal(err)
	}
	cfg := roleConfig("demo")
	cfg.Command, cfg.Dir = []string{"./worker"}, t.TempDir()
	if err := start(t, cfg).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPoolIsHealthyAfterLaunchFailures has a program appear after starts have failed.
func TestPoolIsHealthyAfterLaunchFailures(t *testing.T) {
	cfg := roleConfig("demo")
	path := filepath.Join(t.TempDir(), "worker")
	cfg.Command = []string{path}
	p := newPool(t, cfg, pool.Config[*process.Worker]{MaxSize: 1, StartBackoff: pool.Backoff{Min: 1, Max: 1}})
	var failure *pool.StartError
	var launch *process.LaunchError
	if _, err := p.Acquire(t.Context()); !errors.As(err, &failure) || !errors.As(err, &launch) || launch.ID != failure.ID {
		t.Fatalf("got %v, want *LaunchError in *StartError", err)
	}
	if err := os.Symlink(self(), path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a worker is granted once the program is there", func() bool {
		lease, err := p.Acquire(t.Context())
		if err != nil {
			return false
		}
		defer lease.Release()
		return lease.Worker().Ping(t.Context()) == nil
	})
}

// TestStrayDescriptorsOfTheHostAreNotHandedOn lists the descriptors of a program whose host
// has some that exec does not close.
func TestStrayDescriptorsOfTheHostAreNotHandedOn(t *testing.T) {
	checkLeftovers(t)
	for _, fd := range []int{50, 300} {
		if err := unix.Dup3(0, fd, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	for want, stdio := range map[string]bool{"0\n1\n2\n3\n4\n5\n6\n": false, "0\n1\n2\n3\n4\n": true} {
		cfg := process.Config{Command: []string{"sh", "-c", "ls /proc/self/fd >&2"}, Stdio: stdio}
		_, err := process.Start(t.Context(), cfg, 1)
		var exit *process.ExitError
		if !errors.As(err, &exit) || exit.Output != want { // the highest is that of the listing itself
			t.Errorf("descriptors %q in %v, want %q", exit.Output, err, want)
		}
	}
}

// BenchmarkLaunch measures the start of a process that exits at once, by the number of
// descriptors that the host has open and that must be kept from it.
func BenchmarkLaunch(b *testing.B) {
	for _, test := range []struct {
		name        string
		open, stray int
	}{{"open=0", 0, 0}, {"open=1000", 1000, 0}, {"open=10000", 10000, 0}, {"stray=1000", 0, 1000}} {
		b.Run(test.name, func(b *testing.B) {
			var fds []int
			for range test.open {
				fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 1000)
				if err != nil {
					b.Fatal(err)
				}
				fds = append(fds, fd)
			}
			if test.stray > 0 {
				fd, err := unix.FcntlInt(0, unix.F_DUPFD, test.stray)
				if err != nil {
					b.Fatal(err)
				}
				fds = append(fds, fd)
			}
			for b.Loop() {
				process.Start(b.Context(), process.Config{Command: []string{"/bin/true"}}, 1)
			}
			for _, fd := range fds {
				unix.Close(fd)
			}
		})
	}
}
