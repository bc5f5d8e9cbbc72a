package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/pool/process/python"
)

// TestMain makes the test binary the command too: under the name poolproof in PATH, and,
// when that runs itself again, as a layer or a worker.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	testscript.Main(leakChecked{m}, map[string]func(){"poolproof": main})
}

// leakChecked fails a run of tests that leaves goroutines.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}

// TestScripts runs the scripts in testdata/script. UPDATE_SCRIPTS=1 rewrites what they
// compare with.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			// So that a script can do without a PATH.
			path, err := exec.LookPath("poolproof")
			if err != nil {
				return err
			}
			env.Setenv("POOLPROOF", path)
			repo, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			env.Setenv("REPO", repo)
			env.Setenv("WORKERS", filepath.Join(repo, "testdata", "workers"))
			if err := goEnvironment(env); err != nil {
				return err
			}
			// python3 in PATH may be a slow way to the interpreter.
			if command, err := python.Command(context.Background()); err == nil {
				env.Setenv("PYTHON", command[0])
			}
			return python.Write(env.WorkDir)
		},
		Condition: func(name string) (bool, error) {
			var err error
			switch name {
			case "python":
				_, err = python.Command(t.Context())
			case "node":
				_, err = exec.LookPath("node")
			default:
				return false, errors.New("unknown condition")
			}
			return err == nil, missing(err)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"repeat": repeatFinding},
	})
}

// goEnvironment lets scripts run the go command: its caches are below a home that they do
// not have.
func goEnvironment(env *testscript.Env) error {
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB").Output()
	if err != nil {
		return err
	}
	for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB"} {
		env.Setenv(name, strings.Split(string(out), "\n")[i])
	}
	return nil
}

// missing returns err where Python and Node must be there: under CI.
func missing(err error) error {
	if os.Getenv("CI") == "true" {
		return err
	}
	return nil
}

// needPython skips a test without python3; under CI it fails.
func needPython(t *testing.T) {
	t.Helper()
	_, err := python.Command(t.Context())
	if missing(err) != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
}

// repeatFinding is the script command repeat: it runs the command line that the failed
// verification in a file says repeats it, and demands the same rows and finding.
func repeatFinding(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: repeat FILE")
	}
	first := ts.ReadFile(args[0])
	line := between(first, "Repeat it with: ", "\n")
	if line == "" {
		ts.Fatalf("no line says how to repeat it")
	}
	ts.Logf("%s", line)
	if err := ts.Exec("sh", "-c", line); err == nil {
		ts.Fatalf("the repetition passes")
	}
	if again := ts.ReadFile("stdout"); finding(again) != finding(first) || finding(first) == "" {
		ts.Fatalf("the finding is\n%s\nthe repetition's is\n%s", finding(first), finding(again))
	}
}

// between returns what text has between two marks; "" without the first.
func between(text, after, before string) string {
	_, rest, _ := bytes.Cut([]byte(text), []byte(after))
	found, _, _ := bytes.Cut(rest, []byte(before))
	return string(found)
}

// finding is the message of a broken worker, without what differs from run to run.
func finding(output string) string {
	return between(output, ".go:", ", want ")
}

// poolproof returns the command, in a folder of its own for temporary files, which it
// returns too.
func poolproof(t *testing.T, args ...string) (cmd *exec.Cmd, temp string) {
	t.Helper()
	path, err := exec.LookPath("poolproof")
	if err != nil {
		t.Fatal(err)
	}
	temp = t.TempDir()
	cmd = exec.Command(path, args...)
	// The workers inherit PATH alone, so that is where each process of this test is marked.
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "PATH="+os.Getenv("PATH")+":"+filepath.Join(temp, "mark"))
	return cmd, temp
}

// tempFilesLeft fails the test if the command has left files in its folder.
func tempFilesLeft(t *testing.T, temp string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	left = slices.DeleteFunc(left, func(name string) bool { return filepath.Base(name) == "mark" })
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files: got %v, error %v; want none", left, err)
	}
}
