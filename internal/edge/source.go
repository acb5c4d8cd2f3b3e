package edge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/zone"
)

// Config names a Source. Equal Configs mean the same Source.
type Config struct {
	URL      string // zk://host:port,…/root or dir:///path
	CacheDir string // disk cache, "" for none
	// ShrinkGuard is the share of its RRsets, in percent, that a zone may lose in one version that is not marked forced: 0 for
	// DefaultShrinkGuard, 100 for any.
	ShrinkGuard int
	// Verify are the keys of which one must have signed each head and the heartbeat, "" for no such demand. The disk cache is
	// trusted: it holds what was verified.
	Verify dataset.PublicKeys
	// TLS is for an ensemble whose servers speak it.
	TLS storeurl.TLSFiles
}

// maxMaps bounds how many maps zones can make a server follow by naming them.
const maxMaps = 256

// reopenEvery is the longest pause between attempts to open a store whose
// address cannot be used yet.
const reopenEvery = 10 * time.Second

const (
	// maxLoads is how many datasets load an image at once, each with several
	// reads in flight.
	maxLoads = 32
	// maxSaves is how many write to the disk cache at once: it commits one
	// after the other anyway.
	maxSaves = 4
)

// A Source follows the datasets of one store and keeps their newest versions
// in memory and in the disk cache. All methods may be called concurrently;
// none that a query needs ever waits.
type Source struct {
	cfg   Config
	obs   Observer
	store *deferred
	cache store.Store // nil when there is none
	// identity is asked when a dataset's head is of another store than what is served.
	identity *dataset.Identity

	ctx    context.Context //nolint:containedctx // the life of the source, ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	zonesMu sync.Mutex
	zones   map[zone.Name]*followed
	mapsMu  sync.Mutex                      // for writers; a new zone version takes it while zonesMu may be held
	maps    atomic.Pointer[map[string]*Map] // copied on write: read by every steered query
	pops    *Dataset[*steer.PoPs]
	onPoPs  popsListeners
	feedsMu sync.Mutex // taken while zonesMu may be held, like mapsMu
	feeds   map[zone.Name]*feeds
	listing listing

	loads, saves chan struct{} // see dataset.FollowOptions

	heartbeat atomic.Pointer[Heartbeat]
	cacheCounts
	stirred   chan struct{} // see stir
	closeOnce sync.Once
	closeErr  error
}

// Open starts a Source. It returns at once: the store is reached, and each
// dataset loaded, in the background. It fails only when the URL is malformed or
// the files for TLS are of no use.
// A disk cache that can't be used is reported to obs and done without.
func Open(cfg Config, obs Observer) (*Source, error) {
	if _, err := storeurl.Parse(cfg.URL); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	secure, err := cfg.TLS.Option()
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	s := &Source{
		cfg:     cfg,
		obs:     obs,
		store:   newDeferred(),
		zones:   map[zone.Name]*followed{},
		loads:   make(chan struct{}, maxLoads),
		saves:   make(chan struct{}, maxSaves),
		feeds:   map[zone.Name]*feeds{},
		stirred: make(chan struct{}, 1),
	}
	s.identity = dataset.NewIdentity(s.store, s.keys())
	s.maps.Store(&map[string]*Map{})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.listing.known = make(chan struct{})
	if cfg.CacheDir != "" {
		cache, err := dir.Open(cfg.CacheDir)
		if err != nil {
			obs.CacheFailed("", err)
		} else {
			s.cache = cache
			s.loadCachedHeartbeat()
		}
	}
	s.pops = start(s, dataset.Ref[*steer.PoPs]{Path: dataset.PoPsPath, Codec: steer.PoPsCodec{}, Keys: s.keys()}, hooks[*steer.PoPs]{changes: popsChanges, switched: s.popsSwitched})
	s.wg.Go(func() {
		s.openStore(storeurl.Options{
			TLS:  secure,
			Logf: func(format string, args ...any) { s.obs.StoreConnection(fmt.Sprintf(format, args...)) },
		})
	})
	s.wg.Go(s.watchHeartbeat)
	s.wg.Go(func() { _ = s.identity.Run(s.ctx) }) // its end is that of the source
	s.wg.Go(func() { s.trim(s.ctx) })
	return s, nil
}

// openStore opens the store, again and again while that fails: the names in
// its URL may resolve only once this very server answers.
func (s *Source) openStore(o storeurl.Options) {
	pause := 100 * time.Millisecond
	for reported := false; ; {
		st, err := storeurl.Open(s.cfg.URL, o)
		if err == nil {
			s.store.open(st)
			return
		}
		if !reported {
			s.obs.StoreFailed(err)
			reported = true
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, reopenEvery)
		}
	}
}

// FollowMap returns the named map, following it from the first call on;
// nil when maxMaps are followed already.
func (s *Source) FollowMap(name string) *Map {
	s.mapsMu.Lock()
	defer s.mapsMu.Unlock()
	old := *s.maps.Load()
	if m := old[name]; m != nil || len(old) >= maxMaps {
		return m
	}
	m := s.startMap(name)
	next := maps.Clone(old)
	next[name] = m
	s.maps.Store(&next)
	return m
}

// Map returns the newest version of a followed map and what is staged beside
// it; nil when it isn't followed or has no data yet, and when nothing is staged.
func (s *Source) Map(name string) (*dataset.Version[*steer.Map], *steer.Canary) {
	m := (*s.maps.Load())[name]
	if m == nil {
		return nil, nil
	}
	if c := m.Canary(); c != nil {
		return m.Current(), c.Value
	}
	return m.Current(), nil
}

// Maps returns all followed maps by name. The caller must not change the map.
func (s *Source) Maps() map[string]*Map { return *s.maps.Load() }

// PoPs returns the PoP table's dataset.
func (s *Source) PoPs() *Dataset[*steer.PoPs] { return s.pops }

// Settle waits until the PoP table and every followed map has been read, or is
// known not to exist: a server that answered before would steer its first
// clients by nothing. It returns the context's error otherwise.
func (s *Source) Settle(ctx context.Context) error {
	for _, m := range s.Maps() {
		if err := m.Settle(ctx); err != nil {
			return err
		}
	}
	return s.pops.Settle(ctx)
}

// keys are those that everything in the store must be signed with.
func (s *Source) keys() dataset.Keys { return dataset.Keys{Verify: s.cfg.Verify} }

// Status is the store's.
func (s *Source) Status() store.Status { return s.store.Status() }

// Close ends the session and every goroutine. The versions held stay readable,
// so a server that drains after its shutdown callbacks still answers.
func (s *Source) Close() error {
	s.closeOnce.Do(func() {
		s.cancel()
		s.wg.Wait()
		s.closeErr = s.store.Close()
		if s.cache != nil {
			s.closeErr = errors.Join(s.closeErr, s.cache.Close())
		}
	})
	return s.closeErr
}
