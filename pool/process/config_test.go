package process

import (
	"context"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/pool"
)

func TestEnvironmentHoldsOnlyWhatIsListed(t *testing.T) {
	host := map[string]string{"PATH": "/bin", "HOME": "/root", "SECRET": "x"}
	lookup := func(name string) (string, bool) { v, ok := host[name]; return v, ok }
	for _, test := range []struct {
		name string
		list []string
		want []string
	}{
		{"nothing listed", nil, []string{"OWN=1", "PATH=/bin"}},
		{"set and handed on", []string{"A=b=c", "HOME", "ABSENT"}, []string{"OWN=1", "A=b=c", "HOME=/root", "PATH=/bin"}},
		{"own path", []string{"PATH=/usr/bin"}, []string{"OWN=1", "PATH=/usr/bin"}},
		{"empty path", []string{"PATH="}, []string{"OWN=1", "PATH="}},
	} {
		prog := program{env: test.list}
		if got := prog.environment("OWN=1", lookup); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestValidateReportsEveryComplaint(t *testing.T) {
	cfg := Config{
		FrameLimit: -1, CloseGrace: -1, TermGrace: -1, KillGrace: -1, LogRate: -1, ResidentLimit: -1,
		Command: []string{"", "a\x00"}, Dir: "\x00",
		Env:          []string{"=x", "POOLPROOF_CHANNEL=5,6", "POOLPROOF_FORK_SERVER=3", "A=\x00"},
		AddressSpace: -1, OpenFiles: 3, Umask: new(fs.FileMode(0o1000)), Nice: 20,
	}
	err := cfg.validate()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		"FrameLimit is -1; it must be from 0 to 2147483647", "CloseGrace is -1ns", "TermGrace is -1ns", "KillGrace is -1ns", "LogRate is -1", "ResidentLimit is -1 bytes",
		"Command[0] is empty", `Command[1] is "a\x00"`, `Dir is "\x00"`,
		`entry "=x"`, "sets POOLPROOF_CHANNEL", "sets POOLPROOF_FORK_SERVER", `entry "A=\x00"`,
		"AddressSpace is -1 bytes; it must not be negative", "OpenFiles is 3; it must be 0 or at least 16",
		"Umask is 01000; it must be from 0 to 0777", "Nice is 20; it must be from -20 to 19",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no complaint about %s in:\n%v", want, err)
		}
	}
}

func TestConfigTakesOneKindOfWorker(t *testing.T) {
	dial := func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) { return nil, nil }
	for _, test := range []struct {
		name string
		cfg  Config
		says string
	}{
		{"none", Config{}, "Command, Fork and Dial: 0 of them are set; it must be exactly one"},
		{"two", Config{Command: []string{"x"}, Dial: dial}, "2 of them are set"},
		{
			"fork with its own",
			Config{Fork: &ForkServer{}, Dir: "/", Env: []string{"A"}, AddressSpace: 1, OpenFiles: 16, CoreDumps: true, Umask: new(fs.FileMode), Nice: 1},
			"Fork is set, so Dir, Env, AddressSpace, OpenFiles, CoreDumps, Umask, Nice must not be",
		},
		{"fork on stdio", Config{Fork: &ForkServer{}, Stdio: true}, "Stdio is set"},
	} {
		if err := test.cfg.validate(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.says)
		}
	}
}

func TestForkConfigReportsEveryComplaint(t *testing.T) {
	_, err := NewForkServer(ForkConfig{StartTimeout: -1, AnswerTimeout: -1, CloseGrace: -1, TermGrace: -1, KillGrace: -1, Nice: -21})
	for _, want := range []string{
		"ForkConfig.Command is missing", "StartTimeout is -1ns", "AnswerTimeout is -1ns",
		"CloseGrace is -1ns", "TermGrace is -1ns", "KillGrace is -1ns", "ForkConfig.Nice is -21",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no complaint %q in:\n%v", want, err)
		}
	}
}
