package rewrite

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/token"
	"slices"
	"strings"
)

// file is one source file on its way through.
type file struct {
	name  string // as positions are to show it
	src   []byte
	tok   *token.File
	edits []edit // do not overlap; by start
	used  bool   // something of package lang
	least string // the version of the language that the file must be compiled as, if not its module's
	keep  map[string]bool
	names int // how many names were made
}

// edit replaces the text from start up to end.
type edit struct {
	start, end int
	text       string
}

func (f *file) offset(p token.Pos) int { return f.tok.Offset(p) }

// text returns the source from one position up to another, as edited so far.
func (f *file) text(from, to token.Pos) string {
	start, end := f.offset(from), f.offset(to)
	var b strings.Builder
	for _, e := range f.edits {
		if e.start >= start && e.end <= end {
			b.Write(f.src[start:e.start])
			b.WriteString(e.text)
			start = e.end
		}
	}
	b.Write(f.src[start:end])
	return b.String()
}

// replace edits the text from one position up to another; edits within are dropped, so
// text must contain what of them is to stay.
func (f *file) replace(from, to token.Pos, text string) {
	start, end := f.offset(from), f.offset(to)
	f.edits = slices.DeleteFunc(f.edits, func(e edit) bool { return e.start >= start && e.end <= end })
	at, _ := slices.BinarySearchFunc(f.edits, start, func(e edit, start int) int { return e.start - start })
	f.edits = slices.Insert(f.edits, at, edit{start, end, text})
}

// at is a directive: what follows it stands at p in the original.
func (f *file) at(p token.Pos) string {
	pos := f.tok.Position(p)
	return fmt.Sprintf("/*line %s:%d:%d*/", f.name, pos.Line, pos.Column)
}

// moved is text that is put elsewhere, with its position.
func (f *file) moved(from, to token.Pos) string { return f.at(from) + f.text(from, to) }

// lang returns the name of something in package lang.
func (f *file) lang(name string) string {
	f.used = true
	return langName + "." + name
}

// fresh returns a name that the source does not use.
func (f *file) fresh(what string) string {
	f.names++
	return fmt.Sprintf("poolproof_%s%d", what, f.names)
}

// raise makes the file one of leastGo: by a build constraint, which takes the place of
// those that it has. They hold, or the file would not be part of the build.
func (f *file) raise(parsed *ast.File) {
	f.least = leastGo
	for _, group := range parsed.Comments {
		for _, c := range group.List {
			if c.Pos() < parsed.Package && (constraint.IsGoBuild(c.Text) || constraint.IsPlusBuild(c.Text)) {
				f.replace(c.Pos(), c.End(), "//")
			}
		}
	}
}

// langName is the name under which rewritten files import package lang.
const langName = "poolproof_lang"

// finish returns the whole text, with a directive that names the original.
func (f *file) finish(packageName token.Pos, nameLen int) []byte {
	if f.used {
		after := packageName + token.Pos(nameLen)
		f.replace(after, after, fmt.Sprintf("; import %s %q%s", langName, langPath, f.at(after)))
	}
	base := token.Pos(f.tok.Base())
	text := ""
	if f.least != "" {
		text = "//go:build " + f.least + "\n\n"
	}
	text += fmt.Sprintf("//line %s:1\n", f.name) + f.text(base, base+token.Pos(f.tok.Size()))
	for _, use := range slices.Sorted(mapsKeys(f.keep)) {
		text += fmt.Sprintf("\nvar _ = %s // the import may have no other use\n", use)
	}
	return []byte(text)
}
