package geoip

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// pollEvery is how often files are looked at without an event: network file systems send none, nor does a link whose target lies in another folder.
	pollEvery = 30 * time.Second
	// quiet is how long a file must have stayed as it is: one that is written in place, not renamed, passes through many states.
	quiet = 200 * time.Millisecond
)

// Watch calls changed, never twice at a time, whenever one of the files has become another than in since and has been left alone for a moment. It
// returns when ctx ends. Who reads the files takes since with [Look] before, so that no change falls in between.
//
// It watches the folders, not the files: databases are replaced by rename, and a watch of the old file would never see the new one.
func Watch(ctx context.Context, files []string, since State, changed func()) {
	var events <-chan fsnotify.Event
	var failures <-chan error // an overflow, say; unread, it would block the events
	// Without a watcher (no inotify, or its limit reached) polling alone has to do.
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer func() { _ = w.Close() }()
		events, failures = w.Events, w.Errors
		for _, dir := range folders(files) {
			_ = w.Add(dir)
		}
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	settled := time.NewTimer(quiet)
	told, seen := since, Look(files)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
		case <-failures:
		case <-tick.C:
		case <-settled.C:
			if now := Look(files); now.Same(seen) && !now.Same(told) {
				told = now
				changed()
			}
		}
		if now := Look(files); !now.Same(seen) {
			seen = now
			settled.Reset(quiet)
		}
	}
}

func folders(files []string) []string {
	dirs := make([]string, 0, len(files))
	for _, f := range files {
		dirs = append(dirs, filepath.Dir(f))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// State is how files look from outside.
type State []fs.FileInfo // nil for one that isn't there

// Look returns the state of the files.
func Look(files []string) State {
	s := make(State, len(files))
	for i, f := range files {
		s[i], _ = os.Stat(f)
	}
	return s
}

// Same tells whether nothing has changed from s to o.
func (s State) Same(o State) bool {
	return slices.EqualFunc(s, o, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == b
		}
		return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
	})
}
