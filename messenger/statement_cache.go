package messenger

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
)

// maxPrepared is how many statements a connection keeps prepared. The package has
// fewer, so that none is dropped that comes again.
const maxPrepared = 192

// openCaching is driver.Open with connections that keep their statements: in a busy
// client preparing them took two fifths of the processor. init is called for each
// connection.
func openCaching(source string, init func(*sqlite3.Conn) error) (*sql.DB, error) {
	connector, err := new(driver.SQLite).OpenConnector(source)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(cachingConnector{connector, init}), nil
}

type cachingConnector struct {
	sqldriver.Connector
	init func(*sqlite3.Conn) error
}

// Connect implements driver.Connector.
func (c cachingConnector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn := &cachingConn{Conn: inner.(driver.Conn), prepared: make(map[string]*cachedStmt)}
	if err := c.init(conn.Raw()); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return conn, nil
}

// A cachingConn lends out prepared statements. One that is lent is not in prepared: a
// query that runs inside of itself is prepared once more. database/sql lets one
// goroutine at a time in.
type cachingConn struct {
	driver.Conn
	prepared map[string]*cachedStmt
	uses     uint64
}

// innerStmt is what the statements of the driver can do.
type innerStmt interface {
	sqldriver.Stmt
	sqldriver.StmtExecContext
	sqldriver.StmtQueryContext
	sqldriver.NamedValueChecker
}

type cachedStmt struct {
	innerStmt
	conn  *cachingConn
	query string
	used  uint64
}

// Prepare implements driver.Conn.
func (c *cachingConn) Prepare(query string) (sqldriver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *cachingConn) PrepareContext(ctx context.Context, query string) (sqldriver.Stmt, error) {
	if s, ok := c.prepared[query]; ok {
		delete(c.prepared, query)
		return s, nil
	}
	inner, err := c.Conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &cachedStmt{innerStmt: inner.(innerStmt), conn: c, query: query}, nil
}

// Close gives the statement back.
func (s *cachedStmt) Close() error {
	c := s.conn
	if c.prepared == nil || c.prepared[s.query] != nil {
		return s.innerStmt.Close()
	}
	c.uses++
	s.used = c.uses
	c.prepared[s.query] = s
	if len(c.prepared) <= maxPrepared {
		return nil
	}
	oldest := s
	for _, other := range c.prepared {
		if other.used < oldest.used {
			oldest = other
		}
	}
	delete(c.prepared, oldest.query)
	return oldest.innerStmt.Close()
}

// ExecContext implements driver.ExecerContext, for several statements in one and no
// arguments.
func (c *cachingConn) ExecContext(ctx context.Context, query string, args []sqldriver.NamedValue) (sqldriver.Result, error) {
	return c.Conn.(sqldriver.ExecerContext).ExecContext(ctx, query, args)
}

// CheckNamedValue implements driver.NamedValueChecker. Statements check their arguments.
func (c *cachingConn) CheckNamedValue(*sqldriver.NamedValue) error { return nil }

// Close closes the connection with its statements.
func (c *cachingConn) Close() error {
	var errs []error
	for _, s := range c.prepared {
		errs = append(errs, s.innerStmt.Close())
	}
	c.prepared = nil
	return errors.Join(append(errs, c.Conn.Close())...)
}
