// Package instrument prepares a build in which some packages are instrumented by package
// rewrite: it finds their files and types by way of the go command, keeps the rewritten
// copies in a cache by content, and puts them in place of the originals.
//
// Files of the main module, of the workspace and of the standard library are replaced by
// the go command's -overlay. Those in the module cache cannot be: the whole module is
// copied, and a go.work of the build's own says to use the copy.
package instrument
