package main

import (
	"fmt"
	"html/template"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/poolproof/poolproof/props"
)

// verdictBroken says that a promise was broken.
const verdictBroken = "BROKEN"

// machineBubble says that all runs but those of Race were in bubbles.
const machineBubble = "bubble"

// peerRow is what came of one target.
type peerRow struct {
	Target    string        `json:"target"`
	Module    string        `json:"module"`
	Version   string        `json:"version"`
	Machine   string        `json:"machine"` // bubble, real time or both
	Verdict   string        `json:"verdict"`
	Asked     int           `json:"asked"`    // checks of each subtest
	Executed  int           `json:"executed"` // of those
	Runs      int           `json:"checks"`   // of all subtests, until something was found
	Known     int           `json:"known"`    // runs passed by, since they broke a rule known to be broken
	Seconds   float64       `json:"seconds"`  // with shrinking
	Searched  float64       `json:"-"`        // in subtests that found nothing
	Found     float64       `json:"found"`    // seconds until something was found
	Subtest   string        `json:"subtest,omitempty"`
	Seed      uint64        `json:"seed,omitempty"` // of the round that found something
	Unchecked string        `json:"unchecked"`
	Broken    *props.Broken `json:"broken,omitempty"`
	Output    string        `json:"output,omitempty"`

	Instrumented bool `json:"instrumented"` // the pool's own steps were under control
}

// peersReport is the result of peers.
type peersReport struct {
	Seed   uint64    `json:"seed"`
	Passed bool      `json:"passed"`
	Rows   []peerRow `json:"rows"`
}

// clean reports whether there are rows and nothing is wrong in any.
func (p *peersReport) clean() bool {
	for i := range p.Rows {
		if p.Rows[i].Verdict != verdictPassed {
			return false
		}
	}
	return len(p.Rows) > 0
}

// cells are the columns behind the verdict: rule, checks, seconds and lines.
func (r *peerRow) cells() [4]string {
	checks := fmt.Sprint(r.Runs)
	if r.Broken == nil {
		return [4]string{"-", checks, fmt.Sprintf("%.1f", r.Seconds), "-"}
	}
	return [4]string{r.Broken.Rule, checks, fmt.Sprintf("%.1f", r.Found), fmt.Sprint(r.Broken.Lines)}
}

func (p *peersReport) print(out io.Writer) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "target\tversion\tmachine\tverdict\trule\tchecks\tseconds\tlines\tnot checked")
	for i := range p.Rows {
		r := &p.Rows[i]
		c := r.cells()
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Target, r.Version, r.Machine, r.Verdict, c[0], c[1], c[2], c[3], r.notChecked())
	}
	w.Flush()
	for i := range p.Rows {
		r := &p.Rows[i]
		if r.Broken != nil {
			fmt.Fprintf(&b, "\n%s %s: %s; seed %d\n%s", r.Target, r.Version, r.replays(), r.Seed, r.Broken.Script)
		}
		if r.Output != "" {
			fmt.Fprintf(&b, "\n%s %s came to no verdict. It printed:\n%s\n", r.Target, r.Version, r.Output)
		}
	}
	fmt.Fprintf(&b, "\n%s, seed %d\n", p.verdict(), p.Seed)
	_, err := io.WriteString(out, b.String())
	return err
}

// replays says how certain the script is.
func (r *peerRow) replays() string {
	return fmt.Sprintf("found by %s, seen in %d of %d replays", r.Subtest, r.Broken.Seen, r.Broken.Tried)
}

func (p *peersReport) verdict() string {
	if p.Passed {
		return "nothing was found"
	}
	return "NOT CLEAN"
}

// peerPage is the page: a table, and a script for each finding.
const peerPage = `<!doctype html>
<meta charset="utf-8">
<title>poolproof: peers</title>
<style>
body { font: 16px/1.4 system-ui, sans-serif; margin: 2em; max-width: 100em }
table { border-collapse: collapse }
th, td { text-align: left; vertical-align: top; padding: .3em .8em; border-bottom: 1px solid #ccc }
.BROKEN, .INCOMPLETE { color: #a00; font-weight: bold }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto }
</style>
<h1>Pools against what they promise</h1>
<table>
<tr><th>target<th>version<th>machine<th>verdict<th>rule<th>checks<th>seconds<th>lines<th>not checked</tr>
{{range $i, $r := .Rows}}<tr><td>{{if .Broken}}<a href="#f{{$i}}">{{.Target}}</a>{{else}}{{.Target}}{{end}}<td>{{.Version}}<td>{{.Machine}}<td class="{{.Verdict}}">{{.Verdict}}{{range .Cells}}<td>{{.}}{{end}}<td>{{.NotChecked}}</tr>
{{end}}</table>
{{range $i, $r := .Rows}}{{if .Broken}}<h2 id="f{{$i}}">{{.Target}} {{.Version}}</h2>
<p>{{.Broken.Rule}}: {{.Broken.Text}}. {{.Module}}; {{.Replays}}; seed {{.Seed}}.</p>
<pre>{{.Broken.Script}}</pre>
{{if .Broken.Stacks}}<pre>{{.Broken.Stacks}}</pre>
{{end}}{{end}}{{if .Output}}<h2>{{.Target}} {{.Version}}</h2>
<pre>{{.Output}}</pre>
{{end}}{{end}}<p>Seed {{.Seed}}. A script's line is an operation, in the column of its client; -- begins lines about hooks and time; # what was seen.</p>
`

// notChecked is the last column.
func (r *peerRow) notChecked() string {
	if r.Known == 0 {
		return r.Unchecked
	}
	return fmt.Sprintf("%s, what %d runs would have done that ended at what is known", r.Unchecked, r.Known)
}

// Cells, NotChecked and Replays are for the page.
func (r peerRow) Cells() [4]string   { return r.cells() }
func (r peerRow) NotChecked() string { return r.notChecked() }
func (r peerRow) Replays() string    { return r.replays() }

// writePage writes the page to a file.
func (p *peersReport) writePage(name string) error {
	page, err := template.New("page").Parse(peerPage)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := page.Execute(&b, p); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(b.String()), 0o666)
}
