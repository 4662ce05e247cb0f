package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"sealpost/internal/terminal"
	"sealpost/relay/sqlite"
)

// adminCommand is sealpost admin.
type adminCommand struct {
	Invite  adminInviteCommand  `cmd:"" help:"Make, list and revoke invite codes."`
	Users   adminUsersCommand   `cmd:"" help:"List the accounts."`
	Stats   adminStatsCommand   `cmd:"" help:"Count accounts, devices, groups and what waits, and measure the disk."`
	Check   adminCheckCommand   `cmd:"" help:"Read the whole store and say whether it is sound."`
	Backup  adminBackupCommand  `cmd:"" help:"Copy the server's data to a new directory, also while it runs."`
	Restore adminRestoreCommand `cmd:"" help:"Make a server's data directory from a backup."`
}

// Help is shown by admin --help.
func (*adminCommand) Help() string {
	return "These work on the server's data directory, on the same machine and as the same user. The server may be running."
}

type adminUsersCommand struct {
	dataFlag
	JSON bool `name:"json" help:"Print each account as a line of JSON."`
}

// accountLine is a line of admin users --json.
type accountLine struct {
	Name         string    `json:"name"`
	Devices      int       `json:"devices"`
	Registered   time.Time `json:"registered"`
	Waiting      int64     `json:"waiting"`
	WaitingBytes int64     `json:"waiting_bytes"`
}

// Run lists.
func (c *adminUsersCommand) Run(env *environment) error {
	return c.withStore(env, func(admin *sqlite.Admin) error {
		if c.JSON {
			return admin.Accounts(func(a sqlite.Account) error {
				return printJSON(env.stdout, accountLine{string(a.Username), a.Devices, a.Registered.UTC(), a.Waiting, a.WaitingBytes})
			})
		}
		table := newTable(env.stdout, "NAME", "DEVICES", "REGISTERED", "WAITING", "SIZE")
		err := admin.Accounts(func(a sqlite.Account) error {
			return table.row(terminal.Printable(string(a.Username)), a.Devices, a.Registered.Format(time.DateTime), a.Waiting, size(a.WaitingBytes))
		})
		if err != nil {
			return err
		}
		return table.Flush()
	})
}

type adminStatsCommand struct {
	dataFlag
	JSON bool `name:"json" help:"Print JSON."`
}

// statsLine is what admin stats --json prints.
type statsLine struct {
	Accounts      int64      `json:"accounts"`
	Devices       int64      `json:"devices"`
	Groups        int64      `json:"groups"`
	Envelopes     int64      `json:"envelopes"`
	EnvelopeBytes int64      `json:"envelope_bytes"`
	Oldest        *time.Time `json:"oldest"`
	Schema        int        `json:"schema"`
	DatabaseBytes int64      `json:"database_bytes"`
	LogBytes      int64      `json:"log_bytes"`
	FreeBytes     int64      `json:"free_bytes"`
}

// Run counts.
func (c *adminStatsCommand) Run(env *environment) error {
	return c.withStore(env, func(admin *sqlite.Admin) error {
		s, err := admin.Stats()
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(env.stdout, newStatsLine(s))
		}
		oldest := "nothing waits"
		if !s.Oldest.IsZero() {
			oldest = fmt.Sprintf("%s  (%v ago)", s.Oldest.Format(time.DateTime), time.Since(s.Oldest).Round(time.Second))
		}
		_, err = fmt.Fprintf(env.stdout,
			"accounts   %d\ndevices    %d\ngroups     %d\nwaiting    %d envelopes, %s\noldest     %s\ndatabase   %s  (schema %d)\nlog        %s\nfree disk  %s\n",
			s.Accounts, s.Devices, s.Groups, s.Envelopes, size(s.EnvelopeBytes), oldest, size(s.DatabaseBytes), s.Schema, size(s.LogBytes), size(s.FreeBytes))
		return err
	})
}

func newStatsLine(s sqlite.Stats) statsLine {
	line := statsLine{
		Accounts: s.Accounts, Devices: s.Devices, Groups: s.Groups, Envelopes: s.Envelopes, EnvelopeBytes: s.EnvelopeBytes,
		Schema: s.Schema, DatabaseBytes: s.DatabaseBytes, LogBytes: s.LogBytes, FreeBytes: s.FreeBytes,
	}
	if !s.Oldest.IsZero() {
		oldest := s.Oldest.UTC()
		line.Oldest = &oldest
	}
	return line
}

// A table aligns columns.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer, columns ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(t, strings.Join(columns, "\t")) // into memory, up to Flush
	return t
}

func (t table) row(cells ...any) error {
	_, err := fmt.Fprintf(t, strings.Repeat("%v\t", len(cells)-1)+"%v\n", cells...)
	return err
}

// size is a number of bytes as a person reads it.
func size(bytes int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(bytes), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
