// Package timeline writes the page of chaos runs: one HTML file that asks for no other,
// with a table of the runs and, for each, plots over time with the faults above them. The
// plots are drawn by uPlot, which lies in the folder uplot with its licence.
package timeline

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"os"
	"strings"
)

//go:embed page.html page.css plots.js lanes.js page.js uplot/uPlot.iife.min.js uplot/uPlot.min.css
var files embed.FS

// Page is what a page shows.
type Page struct {
	Title  string
	Passed bool
	Facts  []Fact // of all runs together
	Runs   []Run
}

// Fact is something in a word or two, and its value.
type Fact struct{ Name, Value string }

// Run is a run of a scenario. Times are seconds since it began.
type Run struct {
	Name     string
	About    string // what it does, in a sentence
	Layer    string
	Verdict  string // "passed", or else
	Reason   string // why it was not run; nothing but the plan is shown then
	Cells    []Fact // its line of the table
	Criteria []string
	Findings []string
	Plan     string // as text
	Replay   string // the command that runs it again

	Series Series
}

// Passed says that the verdict is "passed".
func (r *Run) Passed() bool { return r.Verdict == "passed" }

// Series is what the script of the page draws of a run.
type Series struct {
	Phases   []Phase   `json:"phases"`
	Faults   []Fault   `json:"faults"`
	At       []float64 `json:"at"`     // the middles of equal intervals
	Wanted   []float64 `json:"wanted"` // calls intended in each, a second
	Served   []float64 `json:"served"` // of these were answered as asked, a second
	Errors   []Errors  `json:"errors"`
	P50      []*Second `json:"p50"` // nil where there were no calls
	Max      []*Second `json:"max"`
	Changes  []float64 `json:"changes"`  // when capacity changed
	Capacity []float64 `json:"capacity"` // in percent, from then on
}

// Second is a duration.
type Second = float64

// Errors are the calls that ended in one way, a second.
type Errors struct {
	Kind  string    `json:"kind"`
	Rates []float64 `json:"rates"`
}

// Phase is a part of a run.
type Phase struct {
	Name string  `json:"name"`
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// Fault is a fault of one victim.
type Fault struct {
	Kind     string  `json:"kind"`
	Options  string  `json:"options"`
	Victim   string  `json:"victim"`
	At       float64 `json:"at"`
	Landed   float64 `json:"landed"` // 0: it did not
	Healed   float64 `json:"healed"` // 0: nothing was to be healed, or it did not land
	Evidence string  `json:"evidence"`
	Error    string  `json:"error"` // why it does not count
}

// view is what page.html is executed with.
type view struct {
	*Page
	Policy string
	Style  template.CSS
	Script template.JS
	Data   []Series
}

// Write writes a page.
func Write(w io.Writer, p *Page) error {
	style, err := joined("uplot/uPlot.min.css", "page.css")
	if err != nil {
		return err
	}
	script, err := joined("uplot/uPlot.iife.min.js", "plots.js", "lanes.js", "page.js")
	if err != nil {
		return err
	}
	v := view{
		Page: p, Style: template.CSS(style), Script: template.JS(script), Data: []Series{},
		Policy: fmt.Sprintf("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-%s'", hash(script)),
	}
	for i := range p.Runs {
		v.Data = append(v.Data, p.Runs[i].Series)
	}
	t, err := template.New("page.html").Funcs(template.FuncMap{"anchor": anchor}).ParseFS(files, "page.html")
	if err != nil {
		return err
	}
	return t.Execute(w, v)
}

// Save writes a page to a file, over an old one if there is one.
func Save(name string, p *Page) error {
	var b bytes.Buffer
	if err := Write(&b, p); err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	return nil
}

// anchor is the name of a run's section within the page.
func anchor(i int) string { return fmt.Sprintf("run-%d", i) }

// hash is that of a script, by which the browser knows it as the page's own.
func hash(script string) string {
	sum := sha256.Sum256([]byte(script))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// joined returns files one after the other.
func joined(names ...string) (string, error) {
	var b strings.Builder
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return "", err
		}
		b.Write(text)
		b.WriteByte('\n')
	}
	return b.String(), nil
}
