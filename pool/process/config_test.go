package process

import (
	"slices"
	"strings"
	"testing"
)

func TestEnvironmentHoldsOnlyWhatIsListed(t *testing.T) {
	host := map[string]string{"PATH": "/bin", "HOME": "/root", "SECRET": "x"}
	lookup := func(name string) (string, bool) { v, ok := host[name]; return v, ok }
	for _, test := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"nothing listed", Config{}, []string{"POOLPROOF_CHANNEL=3,4", "PATH=/bin"}},
		{"stdio", Config{Stdio: true}, []string{"POOLPROOF_CHANNEL=0,1", "PATH=/bin"}},
		{
			"set and handed on",
			Config{Env: []string{"A=b=c", "HOME", "ABSENT"}},
			[]string{"POOLPROOF_CHANNEL=3,4", "A=b=c", "HOME=/root", "PATH=/bin"},
		},
		{"own path", Config{Env: []string{"PATH=/usr/bin"}}, []string{"POOLPROOF_CHANNEL=3,4", "PATH=/usr/bin"}},
		{"empty path", Config{Env: []string{"PATH="}}, []string{"POOLPROOF_CHANNEL=3,4", "PATH="}},
	} {
		if got := test.cfg.environment(lookup); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestValidateReportsEveryComplaint(t *testing.T) {
	cfg := Config{
		FrameLimit: -1, CloseGrace: -1, TermGrace: -1, KillGrace: -1,
		Env: []string{"=x", "POOLPROOF_CHANNEL=5,6", "A=\x00"},
	}
	err := cfg.validate()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		"Command and Dial", "FrameLimit", "CloseGrace", "TermGrace", "KillGrace",
		`entry "=x"`, "sets POOLPROOF_CHANNEL", `entry "A=\x00"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no complaint about %s in:\n%v", want, err)
		}
	}
}
