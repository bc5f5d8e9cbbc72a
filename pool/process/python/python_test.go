package python_test

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/pool/process/python"
)

// versionsVariable makes the tests run under every Python in a folder such as
// ~/.pyenv/versions too, from 3.9 on.
const versionsVariable = "POOLPROOF_PYTHON_VERSIONS"

// patience bounds a run of the Python tests, which takes seconds.
const patience = 5 * time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// interpreters returns the pythons to test, which are one at least. Without python3 the test
// is skipped, but under CI it fails.
func interpreters(t *testing.T) []string {
	t.Helper()
	command, err := python.Command(t.Context())
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	found := command[:1]
	if dir := os.Getenv(versionsVariable); dir != "" {
		paths, err := filepath.Glob(filepath.Join(dir, "3.*", "bin", "python3"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s has no interpreter: %v", dir, err)
		}
		for _, path := range paths {
			if exec.CommandContext(t.Context(), path, "-S", "-c", "import sys; sys.exit(sys.version_info < (3, 9))").Run() == nil {
				found = append(found, path)
			}
		}
	}
	return found
}

// TestInPython runs the library's own tests, which are in Python.
func TestInPython(t *testing.T) {
	for _, interpreter := range interpreters(t) {
		t.Run(strings.ReplaceAll(interpreter, "/", "_"), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, interpreter, "-B", "-m", "unittest", "discover", "-s", "tests")
			cmd.WaitDelay = time.Second
			out, err := cmd.CombinedOutput()
			if ran := regexp.MustCompile(`(?m)^Ran [1-9][0-9]* tests? in .*\n\nOK\n`).Find(out); err != nil || ran == nil {
				t.Fatalf("python -m unittest: %v\n%s", err, out)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // it replaces what is there
		if err := python.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	library, err := filepath.Glob(filepath.Join(dir, python.PackageDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	saved := map[string]bool{filepath.Join(dir, python.DemoFile): true}
	for _, path := range library {
		saved[path] = true
	}
	source := os.DirFS(".")
	for _, pattern := range []string{python.PackageDir + "/*.py", python.PackageDir + "/py.typed", python.DemoFile} {
		names, err := fs.Glob(source, pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: got %v, error %v; want files", pattern, names, err)
		}
		for _, name := range names {
			want, err := fs.ReadFile(source, name)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, name)
			if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
				t.Errorf("%s: got %d bytes, error %v; want %d", name, len(got), err, len(want))
			}
			delete(saved, path)
		}
	}
	if len(saved) > 0 {
		t.Errorf("saved besides: %v", saved)
	}
	if demo, err := fs.ReadFile(python.Files(), python.DemoFile); err != nil || string(demo) != python.Demo() {
		t.Errorf("Files has a demo of %d bytes, error %v; Demo has %d", len(demo), err, len(python.Demo()))
	}
}

func TestWriteReportsWhatFails(t *testing.T) {
	if err := python.Write(filepath.Join(t.TempDir(), "absent", "\x00")); err == nil {
		t.Error("Write in a folder that cannot be succeeded")
	}
}

func TestForkServerCommand(t *testing.T) {
	interpreter := interpreters(t)[0]
	got, err := python.ForkServerCommand(t.Context(), "lib", "worker.py", "json")
	want := []string{interpreter, "-u", filepath.Join("lib", "poolproof_worker", "fork_server.py"), "worker.py", "json"}
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %q, error %v; want %q", got, err, want)
	}
	if _, err := os.Stat(filepath.Join(python.PackageDir, "fork_server.py")); err != nil {
		t.Error(err)
	}
}

func TestCommandSaysWhyThereIsNone(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if command, err := python.Command(t.Context()); err == nil || !strings.Contains(err.Error(), "finding the interpreter") {
		t.Errorf("got %q, error %v; want an error", command, err)
	}
}
