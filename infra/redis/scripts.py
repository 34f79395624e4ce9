"""The Lua scripts of the transport: each does in one step, and in one round trip, what must not be left half done.

All take the keys of ``infra.redis.keys.Keys.all`` in its order; a stream is named to them by its place there, 1 or 2.
They are written to run on Redis 6.2 and later. A consumer group that is not there, on a server that is new or has lost
its data, is made where it is missed, from the first entry on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.commands.core import Script

from infra.redis.client import Client
from infra.redis.failures import translated
from infra.redis.keys import GROUP, Keys

TAG = 16
"""Characters before the body of a delayed message, which make it unlike any other in its set."""
ABOUT = 8
"""Of a dead letter's fields and values, so many say what became of it: ``from``, ``id``, ``deliveries``, ``at``. What
follows is the entry as it was."""
WIDEST = 200
"""Of an entry's fields and values, so many go into a dead letter, or back from it: far more than a message has, and
fewer than what a script can hand on in one call."""

_COMMON = f"""
local HIGH, NORMAL, DEAD, GROUP, TAG, ABOUT, WIDEST = 1, 2, 5, '{GROUP}', {TAG}, {ABOUT}, {WIDEST}
local function delayed(number) return KEYS[number + 2] end
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
-- A full server refuses what may take memory, but never after a script's first write. This is one that changes nothing:
-- what moves messages must not be refused, or nobody could make room any more. Each is added to where it goes before it
-- is taken away from where it was, so that it is not lost whatever else may be refused.
local function let_through(stream) redis.call('XDEL', stream, '0-0') end
local function grouped(stream, ...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'NOGROUP', 1, true) then
    let_through(stream)
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  end
  return redis.call(...)
end
local function fields_of(stream, id)
  local found = redis.call('XRANGE', stream, id, id)
  return found[1] and found[1][2]
end
local function narrow(fields, first) return unpack(fields, first, math.min(#fields, first + WIDEST - 1)) end
local function settle(stream, id)
  redis.call('XACK', stream, GROUP, id)
  redis.call('XDEL', stream, id)
end
local function is_held(stream, id, consumer, count)
  local held = grouped(stream, 'XPENDING', stream, GROUP, id, id, 1, consumer)[1]
  return held and held[4] == tonumber(count)
end
"""

SEND = """
-- ARGV: for each message the stream, the delay in ms, the tag, the body.
local due = now() + 1  -- a part of a millisecond has passed already
for i = 1, #ARGV, 4 do
  local number, delay = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  if delay > 0 then
    redis.call('ZADD', delayed(number), due + delay, ARGV[i + 2] .. ARGV[i + 3])
  else
    redis.call('XADD', KEYS[number], '*', 'm', ARGV[i + 3])
  end
end
"""

RECEIVE = """
-- ARGV: consumer, how many, the stream to begin with, how many delayed ones to move at most.
-- Returns the ms until the next delayed one (-1: none), then stream, id, 1 and fields of each entry.
local time, next_due = now(), -1
for number = HIGH, NORMAL do
  local due = redis.call('ZRANGEBYSCORE', delayed(number), '-inf', time, 'LIMIT', 0, ARGV[4])
  for _, member in ipairs(due) do
    let_through(KEYS[number])
    redis.call('XADD', KEYS[number], '*', 'm', string.sub(member, TAG + 1))
    redis.call('ZREM', delayed(number), member)
  end
  local first = redis.call('ZRANGE', delayed(number), 0, 0, 'WITHSCORES')
  if first[2] then
    local left = math.max(0, tonumber(first[2]) - time)
    if next_due < 0 or left < next_due then next_due = left end
  end
end
local found, most = {next_due}, tonumber(ARGV[2])
local first = tonumber(ARGV[3])
for _, number in ipairs({first, HIGH + NORMAL - first}) do
  if most > 0 then
    local stream = KEYS[number]
    local read = grouped(stream, 'XREADGROUP', 'GROUP', GROUP, ARGV[1], 'COUNT', most, 'STREAMS', stream, '>')
    for _, entry in ipairs(read and read[1][2] or {}) do
      found[#found + 1] = {number, entry[1], 1, entry[2]}
      most = most - 1
    end
  end
end
return found
"""

RECLAIM = """
-- ARGV: consumer, how many, visibility in ms, deliveries, how many to look at, how many dead letters to keep.
-- Returns two lists of stream, id, count and fields: those that are this consumer's now, and those that are dead.
local claimed, dead, most, visibility = {}, {}, tonumber(ARGV[2]), tonumber(ARGV[3])
for number = HIGH, NORMAL do
  local stream = KEYS[number]
  local idle = grouped(stream, 'XPENDING', stream, GROUP, 'IDLE', visibility, '-', '+', ARGV[5])
  for _, pending in ipairs(idle) do
    local id, count = pending[1], pending[4]
    local fields = fields_of(stream, id)
    if not fields then
      redis.call('XACK', stream, GROUP, id)
    elseif count >= tonumber(ARGV[4]) then
      let_through(stream)
      redis.call('XADD', KEYS[DEAD], 'MAXLEN', ARGV[6], '*',
        'from', stream, 'id', id, 'deliveries', count, 'at', now(), narrow(fields, 1))
      settle(stream, id)
      dead[#dead + 1] = {number, id, count, fields}
    elseif #claimed < most then
      redis.call('XCLAIM', stream, GROUP, ARGV[1], visibility, id)
      claimed[#claimed + 1] = {number, id, count + 1, fields}
    end
  end
end
return {claimed, dead}
"""

ACKNOWLEDGE = """
-- ARGV: stream and id of each.
for i = 1, #ARGV, 2 do settle(KEYS[tonumber(ARGV[i])], ARGV[i + 1]) end
"""

KEEP = """
-- ARGV: consumer, then stream, id and count of each. What is not in hand any more is left alone.
for i = 2, #ARGV, 3 do
  local stream, id = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  if is_held(stream, id, ARGV[1], ARGV[i + 2]) then
    redis.call('XCLAIM', stream, GROUP, ARGV[1], 0, id, 'JUSTID')
  end
end
"""

RELEASE = """
-- ARGV: consumer, delay in ms, then stream, id, count and tag of each. What is not in hand any more is left alone, and
-- so is what is no message of ours if it is to be delayed or has too many fields: it comes again after the visibility.
local delay, due = tonumber(ARGV[2]), now() + 1
for i = 3, #ARGV, 4 do
  local number, id = tonumber(ARGV[i]), ARGV[i + 1]
  local stream = KEYS[number]
  local fields = is_held(stream, id, ARGV[1], ARGV[i + 2]) and fields_of(stream, id)
  if fields and delay <= 0 and #fields <= WIDEST then
    let_through(stream)
    redis.call('XADD', stream, '*', unpack(fields))
    settle(stream, id)
  elseif fields and #fields == 2 and fields[1] == 'm' then
    let_through(stream)
    redis.call('ZADD', delayed(number), due + delay, ARGV[i + 3] .. fields[2])
    settle(stream, id)
  end
end
"""

BACKLOG = """
-- Returns waiting, in hand, delayed, dead, and for how many ms the oldest has waited (-1: none does).
local waiting, in_hand, later, oldest, time = 0, 0, 0, -1, now()
local function waits_since(since) oldest = math.max(oldest, time - since, 0) end
for number = HIGH, NORMAL do
  local stream = KEYS[number]
  local pending = grouped(stream, 'XPENDING', stream, GROUP)[1]
  local unread = math.max(0, redis.call('XLEN', stream) - pending)
  local due = redis.call('ZCOUNT', delayed(number), '-inf', time)
  waiting, in_hand = waiting + unread + due, in_hand + pending
  later = later + redis.call('ZCARD', delayed(number)) - due
  if due > 0 then waits_since(tonumber(redis.call('ZRANGE', delayed(number), 0, 0, 'WITHSCORES')[2])) end
  if unread > 0 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local about = {}
      for i = 1, #group, 2 do about[group[i]] = group[i + 1] end
      local first = redis.call('XRANGE', stream, '(' .. about['last-delivered-id'], '+', 'COUNT', 1)[1]
      if about.name == GROUP and first then waits_since(tonumber(string.match(first[1], '^%d+'))) end
    end
  end
end
return {waiting, in_hand, later, redis.call('XLEN', KEYS[DEAD]), oldest}
"""

FORGET = """
-- ARGV: a consumer, or nothing for all that were not seen for ARGV[2] ms. Only those that hold nothing are forgotten:
-- Redis would forget what they hold with them.
for number = HIGH, NORMAL do
  local stream = KEYS[number]
  local known = redis.pcall('XINFO', 'CONSUMERS', stream, GROUP)
  for _, consumer in ipairs(known.err and {} or known) do
    local about = {}
    for i = 1, #consumer, 2 do about[consumer[i]] = consumer[i + 1] end
    local chosen = about.name == ARGV[1] or (ARGV[1] == '' and about.idle > tonumber(ARGV[2]))
    if chosen and about.pending == 0 then
      let_through(stream)
      redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, about.name)
    end
  end
end
"""

REPLAY = """
-- ARGV: 'ids' and ids, or 'until', the last id and how many. Returns the ids of those that were put back.
local letters, done = {}, {}
if ARGV[1] == 'until' then
  letters = redis.call('XRANGE', KEYS[DEAD], '-', ARGV[2], 'COUNT', ARGV[3])
else
  for i = 2, #ARGV do letters[#letters + 1] = redis.call('XRANGE', KEYS[DEAD], ARGV[i], ARGV[i])[1] end
end
for _, letter in ipairs(letters) do
  local stream = letter[2][2] == KEYS[HIGH] and KEYS[HIGH] or KEYS[NORMAL]
  let_through(stream)
  redis.call('XADD', stream, '*', narrow(letter[2], ABOUT + 1))
  redis.call('XDEL', KEYS[DEAD], letter[1])
  done[#done + 1] = letter[1]
end
return done
"""

LETTERS = """
-- ARGV: the last id, the first, how many. Returns id and fields of each, the last first.
return redis.call('XREVRANGE', KEYS[DEAD], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
"""


class Scripts:
    """The scripts of one transport, on one client. A server that has lost them is given them again."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys.all
        self._known: dict[str, Script] = {}

    def run(self, script: str, doing: str, args: Iterable[str | bytes | int] = ()) -> Any:  # noqa: ANN401 - each script answers in its own form
        """Run a script.

        Args:
            script: one of this module's.
            doing: what that does, for the error.
            args: its ``ARGV``.

        Returns:
            What it returns: integers, bytes, and lists of them.

        Raises:
            Unavailable, Missing: Redis cannot be reached, cannot do it now, or does not let us.
        """
        known = self._known.get(script)
        if known is None:
            known = self._known[script] = self._client.register_script(_COMMON + script)
        with translated(doing):
            return known(keys=self._keys, args=list(args))
