package rewrite

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"go/version"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/poolproof/poolproof/sched/shim/lang"
)

// Package says what to rewrite.
type Package struct {
	Path      string   // the import path
	Files     []string // the Go files, by absolute name
	GoVersion string   // of the language, such as go1.26; "" is the newest
	Importer  types.Importer

	// Instrumented tells which packages are rewritten too, so that types of sync may be
	// passed to them.
	Instrumented func(path string) bool
}

// sources is this package: what Rewrite does changes with it.
//
//go:embed *.go
var sources embed.FS

// Version is a part of what a copy depends on: it changes when Rewrite does.
func Version() (string, error) {
	h := sha256.New()
	names, err := fs.Glob(sources, "*.go")
	for _, name := range names {
		text, readErr := sources.ReadFile(name)
		err = errors.Join(err, readErr)
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// ShimPath is the path below which the drop-ins are.
var ShimPath = strings.TrimSuffix(langPath, "/lang")

var langPath = packageOf(lang.Gosched)

// shims maps packages to the drop-ins for them.
func shim(path string) (string, bool) {
	name, ok := map[string]string{
		"sync": "sync", "sync/atomic": "atomic", "math/rand": "rand", "math/rand/v2": "randv2",
	}[path]
	return ShimPath + "/" + name, ok
}

// standIn maps functions to what stands for them in package lang.
func standIn(path, name string) string {
	return map[string]string{
		"time.AfterFunc": "AfterFunc", "time.Sleep": "Sleep", "context.AfterFunc": "ContextAfterFunc",
		"runtime.Gosched": "Gosched",
	}[path+"."+name]
}

// leastGo is the version of the language that rewritten files need, as they leave type
// arguments to be inferred. It is below the one in which loops changed their meaning.
const leastGo = "go1.21"

// ErrRefused reports source that cannot be instrumented; the text says where and why.
var ErrRefused = errors.New("cannot instrument")

// Rewrite returns the instrumented text of each file, by the file's name. The error joins
// all that is wrong.
func Rewrite(p Package) (map[string][]byte, error) {
	fset := token.NewFileSet()
	var (
		syntax  []*ast.File
		sources [][]byte
		errs    []error
	)
	for _, name := range p.Files {
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("rewrite: %w", err)
		}
		parsed, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("rewrite: %w", err)
		}
		errs = append(errs, refused(fset, parsed)...)
		syntax, sources = append(syntax, parsed), append(sources, src)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	info := &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	conf := types.Config{
		Importer: p.Importer, GoVersion: p.GoVersion, Sizes: types.SizesFor("gc", runtime.GOARCH),
		Error: func(err error) { errs = append(errs, err) },
	}
	pkg, _ := conf.Check(p.Path, fset, syntax, info)
	if len(errs) > 0 {
		return nil, fmt.Errorf("rewrite: %s does not compile as it is: %w", p.Path, errors.Join(errs...))
	}
	out := map[string][]byte{}
	for i, parsed := range syntax {
		w := &rewriter{
			file: &file{name: p.Files[i], src: sources[i], tok: fset.File(parsed.FileStart), keep: map[string]bool{}},
			fset: fset, info: info, pkg: pkg, instrumented: p.Instrumented, inSelect: map[ast.Node]bool{},
		}
		w.walk(parsed)
		errs = append(errs, w.errs...)
		if p.GoVersion != "" && version.Compare(p.GoVersion, leastGo) < 0 {
			w.raise(parsed)
		}
		out[p.Files[i]] = w.finish(parsed.Name.Pos(), len(parsed.Name.Name))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

// refusal is an error at a place.
func refusal(fset *token.FileSet, at token.Pos, format string, args ...any) error {
	pos := fset.Position(at)
	return fmt.Errorf("%s:%d: %w: %s", pos.Filename, pos.Line, ErrRefused, fmt.Sprintf(format, args...))
}

// refused returns what in a file makes it impossible to instrument, as far as that shows
// without types.
func refused(fset *token.FileSet, f *ast.File) []error {
	var errs []error
	for _, spec := range f.Imports {
		if spec.Path.Value == `"C"` {
			errs = append(errs, refusal(fset, spec.Pos(), "it uses cgo, whose files cannot be rewritten; leave this package out"))
		}
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			fields := strings.Fields(c.Text)
			if len(fields) < 2 || fields[0] != "//go:linkname" {
				continue
			}
			for _, name := range fields[1:] {
				if semaphore(name) {
					errs = append(errs, refusal(fset, c.Pos(),
						"%s is a semaphore of the runtime, at which a goroutine would wait unseen; leave this package out", name))
				}
			}
		}
	}
	return errs
}

// semaphore tells whether a linkname reaches the runtime's way to block or wake goroutines.
func semaphore(name string) bool {
	for _, prefix := range []string{
		"sync.runtime_", "internal/sync.runtime_", "internal/poll.runtime_Sem", "runtime.sem", "runtime.notifyList",
		"runtime.gopark", "runtime.goready", "sync/atomic.runtime_",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// rewriter goes through one file.
type rewriter struct {
	*file
	fset         *token.FileSet
	info         *types.Info
	pkg          *types.Package
	instrumented func(path string) bool
	inSelect     map[ast.Node]bool // operations of cases, which their select rewrites
	errs         []error
}

// walk rewrites from the inside out.
func (w *rewriter) walk(f *ast.File) {
	var stack []ast.Node
	ast.Inspect(f, func(n ast.Node) bool {
		if n != nil {
			stack = append(stack, n)
			if s, ok := n.(*ast.SelectStmt); ok {
				w.noteSelect(s)
			}
			return true
		}
		n, stack = stack[len(stack)-1], stack[:len(stack)-1]
		w.leave(n)
		return true
	})
}

// leave rewrites one node, all nodes within having been rewritten.
func (w *rewriter) leave(n ast.Node) {
	switch n := n.(type) {
	case *ast.ImportSpec:
		w.importSpec(n)
	case *ast.Ident:
		w.ident(n)
	case *ast.SelectorExpr:
		w.selector(n)
	case *ast.CallExpr:
		w.call(n)
	case *ast.SendStmt:
		w.send(n)
	case *ast.UnaryExpr:
		w.receive(n)
	case *ast.GoStmt:
		w.goStmt(n)
	case *ast.SelectStmt:
		w.selectStmt(n)
	case *ast.RangeStmt:
		w.rangeStmt(n)
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			for _, lhs := range n.Lhs {
				w.element(lhs)
			}
		}
	case *ast.IncDecStmt:
		w.element(n.X)
	}
}

func (w *rewriter) importSpec(n *ast.ImportSpec) {
	path, err := strconv.Unquote(n.Path.Value)
	if err != nil {
		return // the parser has accepted it
	}
	if to, ok := shim(path); ok {
		w.replace(n.Path.Pos(), n.Path.End(), strconv.Quote(to))
	}
}

// ident refuses what a package that is not instrumented would see of rewritten types, and
// functions to be replaced that a dot import hides.
func (w *rewriter) ident(n *ast.Ident) {
	fn, ok := w.info.Uses[n].(*types.Func)
	if !ok || fn.Pkg() == nil || fn.Pkg() == w.pkg || w.instrumented(fn.Pkg().Path()) {
		return
	}
	if _, ours := shim(fn.Pkg().Path()); ours || strings.HasPrefix(fn.Pkg().Path(), "internal/sync") {
		return
	}
	signature := fn.Signature()
	for _, tuple := range []*types.Tuple{signature.Params(), signature.Results()} {
		for v := range tuple.Variables() {
			if name := syncType(v.Type(), 0); name != "" {
				w.errs = append(w.errs, refusal(w.fset, n.Pos(),
					"%s.%s has %s in its signature and its package is not instrumented; instrument %s too",
					fn.Pkg().Name(), fn.Name(), name, fn.Pkg().Path()))
				return
			}
		}
	}
}

// syncType returns the name of a type within t that has a drop-in; "" if there is none.
func syncType(t types.Type, depth int) string {
	const deep = 6
	if depth > deep {
		return ""
	}
	switch t := types.Unalias(t).(type) {
	case *types.Named:
		if pkg := t.Obj().Pkg(); pkg != nil && (pkg.Path() == "sync" || pkg.Path() == "sync/atomic") && t.Obj().Name() != "Locker" {
			return pkg.Name() + "." + t.Obj().Name()
		}
	case *types.Pointer:
		return syncType(t.Elem(), depth+1)
	case *types.Slice:
		return syncType(t.Elem(), depth+1)
	case *types.Array:
		return syncType(t.Elem(), depth+1)
	case *types.Chan:
		return syncType(t.Elem(), depth+1)
	case *types.Map:
		if name := syncType(t.Key(), depth+1); name != "" {
			return name
		}
		return syncType(t.Elem(), depth+1)
	case *types.Signature:
		for _, tuple := range []*types.Tuple{t.Params(), t.Results()} {
			for v := range tuple.Variables() {
				if name := syncType(v.Type(), depth+1); name != "" {
					return name
				}
			}
		}
	}
	return ""
}

// selector replaces functions that have something to stand for them.
func (w *rewriter) selector(n *ast.SelectorExpr) {
	x, ok := n.X.(*ast.Ident)
	if !ok {
		return
	}
	pkg, ok := w.info.Uses[x].(*types.PkgName)
	if !ok {
		return
	}
	to := standIn(pkg.Imported().Path(), n.Sel.Name)
	if to == "" {
		return
	}
	w.keep[x.Name+"."+n.Sel.Name] = true
	w.replace(n.Pos(), n.End(), w.lang(to)+w.at(n.End()))
}

// call replaces close.
func (w *rewriter) call(n *ast.CallExpr) {
	id, ok := ast.Unparen(n.Fun).(*ast.Ident)
	if !ok {
		return
	}
	if b, ok := w.info.Uses[id].(*types.Builtin); ok && b.Name() == "close" {
		w.replace(id.Pos(), id.End(), w.lang("Close")+w.at(id.End()))
	}
}

func mapsKeys(m map[string]bool) func(func(string) bool) { return maps.Keys(m) }

// core returns the type that all types of a type parameter have below them, or the type
// below t; nil if there is none.
func core(t types.Type) types.Type {
	param, ok := types.Unalias(t).(*types.TypeParam)
	if !ok {
		return t.Underlying()
	}
	constraint, ok := param.Constraint().Underlying().(*types.Interface)
	if !ok {
		return nil
	}
	var found []types.Type
	for embedded := range constraint.EmbeddedTypes() {
		if union, ok := embedded.(*types.Union); ok {
			for term := range union.Terms() {
				found = append(found, term.Type().Underlying())
			}
		} else {
			found = append(found, embedded.Underlying())
		}
	}
	if len(found) == 0 || slices.ContainsFunc(found, func(t types.Type) bool { return !types.Identical(t, found[0]) }) {
		return nil
	}
	return found[0]
}
