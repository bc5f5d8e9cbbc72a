package layers_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool/pooltest"
)

// patience bounds the waits that a passing scenario ends much sooner.
const patience = 30 * time.Second

var update = flag.Bool("update", false, "write testdata/transcripts.txt from what the first layer of each scenario does")

// golden is the file of transcripts. A section is a scenario: its name after ##, the layers
// that it is played on, those that cannot have it and why, and the transcript.
func golden() string { return filepath.Join("testdata", "transcripts.txt") }

const sectionMark = "## "

// section is what the file should say of a scenario.
func section(s scenario, layers []layer, transcript string) string {
	var out strings.Builder
	var on []string
	for _, l := range layers {
		if s.absent[l.name] == "" {
			on = append(on, l.name)
		}
	}
	fmt.Fprintf(&out, "%s%s\non %s\n", sectionMark, s.name, strings.Join(on, ", "))
	for _, name := range slices.Sorted(maps.Keys(s.absent)) {
		fmt.Fprintf(&out, "not on %s: %s\n", name, s.absent[name])
	}
	return out.String() + "----\n" + transcript
}

// readGolden returns the sections by the names of their scenarios.
func readGolden(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile(golden())
	if err != nil {
		t.Fatal(err)
	}
	sections := make(map[string]string)
	for text := range strings.SplitSeq("\n"+string(content), "\n"+sectionMark) {
		if name, _, ok := strings.Cut(text, "\n"); ok && strings.TrimSpace(text) != "" {
			sections[name] = sectionMark + strings.TrimSpace(text) + "\n"
		}
	}
	return sections
}

// TestLayers plays every scenario on every layer that can have it.
func TestLayers(t *testing.T) {
	pooltest.CheckLeaks(t)
	all := layers(t)
	if *update {
		write(t, all)
	}
	want := readGolden(t)
	if len(want) != len(scenarios()) {
		t.Errorf("%s has %d scenarios, the table %d", golden(), len(want), len(scenarios()))
	}
	for _, l := range all {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			tr := newTroupe(t, l, patience)
			for _, s := range scenarios() {
				if s.absent[l.name] != "" {
					continue
				}
				t.Run(s.name, func(t *testing.T) {
					if err := tr.judge(s, all, want); err != nil {
						t.Error(err)
					}
				})
			}
			if err := tr.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// judge plays a scenario and compares.
func (tr *troupe) judge(s scenario, all []layer, want map[string]string) error {
	transcript, err := tr.play(s)
	if err != nil {
		return err
	}
	if got := section(s, all, transcript); got != want[s.name] {
		return fmt.Errorf("got\n%s\nwant, as on other layers,\n%s\nfirst difference: %s", got, want[s.name], difference(got, want[s.name]))
	}
	return nil
}

// difference returns the first lines that differ.
func difference(got, want string) string {
	one, other := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(one), len(other)) {
		if one[i] != other[i] {
			return fmt.Sprintf("line %d is %q, want %q", i+1, one[i], other[i])
		}
	}
	return "one is longer"
}

// write writes the file from the first layer that a scenario is played on.
func write(t *testing.T, all []layer) {
	t.Helper()
	var out strings.Builder
	for i, s := range scenarios() {
		first := slices.IndexFunc(all, func(l layer) bool { return s.absent[l.name] == "" })
		tr := newTroupe(t, all[first], patience)
		transcript, err := tr.play(s)
		if err = errors.Join(err, tr.close()); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if i > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(section(s, all, transcript))
	}
	if err := os.WriteFile(golden(), []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
