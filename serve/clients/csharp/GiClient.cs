// GiClient.cs: frames in, actions out, for Unity and .NET. One file, no dependencies; docs/protocol.md is what it speaks.
//
//     var session = new Gi.Session("http://127.0.0.1:8000", new Gi.Options { Seed = 1 });
//     await session.OpenAsync();                                         // throws Gi.GiException in words for a player
//     each frame: session.Send(pixels, width, height, Gi.Pixels.Rgba, isFlipped: true);
//                 if (session.Due(out Gi.State state)) Hold(state);      // neither waits for the network
//
// All I/O is in tasks of its own; callbacks come out of Due(), on your thread. While no action is fresh Due() says what
// OnLate says; while the connection is down, nothing is held. Not for WebGL builds, which have no sockets: there the page
// around the game plays it, with gi-client.js. C# 7, .NET Standard 2.0 (Unity 2018 and later).
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Gi
{
    public class GiException : Exception { public GiException(string words) : base(words) { } }
    public enum Pixels { Rgb, Rgba, Bgra }
    public enum OnLate { Neutral, Hold, Stop }
    [Flags] public enum MouseButtons { Left = 1, Right = 2, Middle = 4, Back = 8, Forward = 16 }

    /// <summary>What to hold; motion and wheel belong to one tick: spend them once.</summary>
    public class State
    {
        public List<string> Keys = new List<string>();  // W3C codes: "KeyW", "ShiftLeft", ...
        public MouseButtons Buttons;
        public int MotionX, MotionY, WheelX, WheelY;  // right, down
        public bool HasGamepad;
        public uint GamepadButtons;  // bit: index in the W3C Standard Gamepad
        public float[] Axes = new float[4], Triggers = new float[2];
        public float[] Commands = new float[0];  // of a body's actuators that no control drives, in its order and units

        public State WithoutMotion()
        {
            var copy = (State)MemberwiseClone();
            copy.MotionX = copy.MotionY = copy.WheelX = copy.WheelY = 0;
            return copy;
        }
    }

    public class Action
    {
        public long Seq;
        public double AgeMs, ServerMs;
        public uint NumDropped;
        public bool IsLate;
        public State[] States;  // of every tick, from the frame's own on
        internal long CaptureNs;
    }

    public class Counts { public long Sent, Answered, Dropped, Late, Lost, Resumed; }

    public class Options
    {
        public string Key;        // an API key or a client token
        public long? Seed;
        public string Wishes;     // more of session.update, as JSON members: "\"adapter\": \"mine\""
        public OnLate OnLate = OnLate.Neutral;
        public double PatienceS = 0.5, ResumeS = 30;  // ResumeS 0: never
        public Action<Action> OnAction;
        public Action<string, string> OnStatus;  // kind (open down resumed lost stopped closed error), words for a player
    }

    public class Session : IDisposable
    {
        const string OtherVersion = "the server speaks another version of the protocol: update the older side";
        static readonly TimeSpan Silence = TimeSpan.FromSeconds(10);
        public readonly Counts Counts = new Counts();
        public int Width { get; private set; }
        public int Height { get; private set; }
        public double Fps { get; private set; } = 1;
        public bool IsOver { get { return isClosed || isStopped; } }

        readonly string url;
        readonly Options options;
        readonly object gate = new object();  // of everything below
        readonly SemaphoreSlim changed = new SemaphoreSlim(0);
        readonly List<System.Action> calls = new List<System.Action>();
        readonly Queue<string> outbox = new Queue<string>();
        ClientWebSocket socket;
        Task reading, writing;
        Action held;
        byte[] frame;  // the newest
        bool hasFrame, isDown = true, isRefused;
        volatile bool isClosed, isStopped;
        long seq = -1, firstSeq, newestSeq = -1, sinceNs, heardNs;
        double keptS;
        string id, token, model, resetting, goodbye, shown;

        public Session(string url, Options options = null)
        {
            this.url = (url.StartsWith("http") ? "ws" + url.Substring(4) : url).TrimEnd('/') + "/v1/realtime";
            this.options = options ?? new Options();
        }

        /// <summary>Connect and open the stream. Throws GiException: no server, no free place, another version.</summary>
        public async Task OpenAsync()
        {
            var wishes = (options.Seed.HasValue ? ", \"seed\": " + options.Seed : "") + (options.Wishes == null ? "" : ", " + options.Wishes);
            var opening = "{\"type\": \"session.update\", \"resume\": " + (options.ResumeS > 0 ? "true" : "false") + wishes + "}";
            var words = await Connect(opening).ConfigureAwait(false);
            if (words != null) { isClosed = true; throw new GiException(words); }
            Tell("open", model + " plays");
            writing = Task.Run((Func<Task>)Write);
            reading = Task.Run((Func<Task>)Read);
        }

        /// <summary>The picture as it is now, of any size; one that was not sent yet gives way. isFlipped: its first row is the lowest. Its seq.</summary>
        public long Send(byte[] pixels, int width, int height, Pixels format = Pixels.Rgb, bool isFlipped = false)
        {
            var message = new byte[28 + Width * Height * 3];
            message[0] = message[1] = message[2] = 1;
            BitConverter.GetBytes(NowNs()).CopyTo(message, 16);
            BitConverter.GetBytes((ushort)Width).CopyTo(message, 24);
            BitConverter.GetBytes((ushort)Height).CopyTo(message, 26);
            Image.Resize(pixels, width, height, format, isFlipped, message, 28, Width, Height);
            lock (gate)
            {
                BitConverter.GetBytes(++seq).CopyTo(message, 8);
                frame = message;
                hasFrame = true;
            }
            changed.Release();
            return seq;
        }

        /// <summary>Whether to hold something else from now on: each tick of an answer once, and what the fail-safe says. Runs callbacks.</summary>
        public bool Due(out State state)
        {
            string due;
            System.Action[] now;
            lock (gate)
            {
                if (!isDown && seq > newestSeq && NowNs() - heardNs > Silence.TotalMilliseconds * 1e6) socket.Abort();  // half open: resume
                due = Wanted(out state);
                now = calls.ToArray();
                calls.Clear();
            }
            foreach (var call in now) call();
            var isNew = due != shown;
            shown = due;
            return isNew;
        }

        /// <summary>Tell what was really held in the tick of frame `seq` (an input state in JSON), before the next frame.</summary>
        public void Execute(string action, long seq) { Say("{\"type\": \"action.executed\", \"seq\": " + seq + ", \"action\": " + action + "}"); }

        /// <summary>Forget all frames and start anew.</summary>
        public void Reset(long seed)
        {
            var json = "{\"type\": \"session.reset\", \"seed\": " + seed + "}";
            lock (gate) { held = null; frame = null; hasFrame = false; firstSeq = seq + 1; resetting = json; }
            Say(json);
        }

        /// <summary>End the session: its place is free at once.</summary>
        public void Dispose()
        {
            End("closed", "the play is over");
            if (writing != null) Task.WaitAll(new[] { reading, writing }, 2000);
        }

        string Wanted(out State state)
        {
            state = new State();
            if (isDown || isStopped || isClosed) return "released";
            if (NowNs() - sinceNs > options.PatienceS * 1e9)
            {
                if (options.OnLate == OnLate.Stop) { isStopped = true; Queue("stopped", "no action came for too long: every key is up"); }
                if (options.OnLate != OnLate.Hold || held == null) return "released";
                state = held.States[held.States.Length - 1].WithoutMotion();
                return "late " + held.Seq;
            }
            if (held == null) return "released";
            var last = held.States.Length - 1;
            var tick = last == 0 ? 0 : (int)Math.Max(0, Math.Min(last, Math.Floor((NowNs() - held.CaptureNs) * Fps / 1e9)));
            state = held.States[tick];
            return held.Seq + " " + tick;
        }

        // -------------------------------------------------------------- messages

        static long NowNs() { return (long)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency)); }
        void Queue(string kind, string words) { if (options.OnStatus != null) calls.Add(() => options.OnStatus(kind, words)); }
        void Tell(string kind, string words) { lock (gate) Queue(kind, words); }
        void Say(string json) { lock (gate) outbox.Enqueue(json); changed.Release(); }

        string Answer(byte[] data)
        {
            if (data.Length < 36 || data[0] != 2 || data[1] != 1) return OtherVersion;
            if (data[34] == 0 || data.Length < 36 + 48 * data[34]) return "the server sent a cut action";
            var action = new Action
            {
                Seq = BitConverter.ToInt64(data, 8), CaptureNs = BitConverter.ToInt64(data, 16), ServerMs = BitConverter.ToUInt32(data, 24) / 1000.0,
                NumDropped = BitConverter.ToUInt32(data, 28), IsLate = (data[3] & 1) == 1, States = new State[data[34]],
            };
            action.AgeMs = (NowNs() - action.CaptureNs) / 1e6;
            for (var i = 0; i < action.States.Length; i++) action.States[i] = Controls.Read(data, 36 + 48 * i);
            if ((data[3] & 4) != 0 && !Controls.ReadCommands(data, action.States)) return "the server sent a cut action";
            lock (gate)
            {
                if (action.Seq >= firstSeq)  // not of before the reset
                {
                    Counts.Dropped += action.Seq - Math.Max(newestSeq, firstSeq - 1) - 1;  // whoever dropped them
                    Counts.Answered++;
                    if (action.IsLate) Counts.Late++;
                    held = action;
                    sinceNs = NowNs();
                    if (options.OnAction != null) calls.Add(() => options.OnAction(action));
                }
                newestSeq = Math.Max(newestSeq, action.Seq);
            }
            return null;
        }

        void Hear(string json)
        {
            var type = Json.Member(json, "type");
            if (type == "error" && Json.Member(Json.Member(json, "error"), "type") != "urn:gi:problem:feedback-late") Tell("error", Words(json));
            if (type == "session.updated") lock (gate) resetting = null;
            if (type == "session.closed") goodbye = "the server ended the session (" + Json.Member(json, "reason") + ")";
            if (type == "session.going_away") Tell("going away", "the server ends in " + Json.Member(json, "grace_s") + " s");
        }

        static string Words(string json)
        {
            var problem = Json.Member(json, "error");
            return "the server answered: " + Json.Member(problem, "title") + ". " + Json.Member(problem, "detail");
        }

        // -------------------------------------------------------------- the connection

        async Task<string> Connect(string opening)  // null, or why not
        {
            var fresh = new ClientWebSocket();
            isRefused = false;
            fresh.Options.AddSubProtocol("gi.v1.bin");
            if (options.Key != null) fresh.Options.SetRequestHeader("Authorization", "Bearer " + options.Key);
            using (var patience = new CancellationTokenSource(Silence))
            {
                try
                {
                    await fresh.ConnectAsync(new Uri(url), patience.Token).ConfigureAwait(false);
                    await fresh.SendAsync(Bytes(opening), WebSocketMessageType.Text, true, patience.Token).ConfigureAwait(false);
                    var message = await Receive(fresh, patience.Token).ConfigureAwait(false);
                    if (message == null || message.Item1 != WebSocketMessageType.Text) return "the server does not answer";
                    var json = Encoding.UTF8.GetString(message.Item2);
                    if (Json.Member(json, "type") == "error") { isRefused = true; return Words(json); }
                    Opened(json, fresh);
                    return null;
                }
                catch (Exception error)
                {
                    fresh.Dispose();
                    if (error is OperationCanceledException) return "the server does not answer";
                    for (var cause = error; cause != null; cause = cause.InnerException)
                    {
                        if (cause is SocketException) return "cannot reach the server " + url + ": is it running? (gi serve CHECKPOINT)";
                    }
                    const string why = "it speaks another version of the protocol, drains, or wants a key";
                    return "the server " + url + " refused the stream: " + why + " (" + error.Message + ")";
                }
            }
        }

        void Opened(string json, ClientWebSocket fresh)
        {
            var facts = Json.Member(json, "model");
            var resume = Json.Member(json, "resume");
            var lastSeq = Json.Member(json, "last_seq");
            lock (gate)
            {
                var shape = Json.Member(Json.Member(facts, "observation_space"), "shape").Trim('[', ']').Split(',');
                model = Json.Member(facts, "name");
                Fps = Json.Number(facts, "fps");
                Height = int.Parse(shape[0]);
                Width = int.Parse(shape[1]);
                id = Json.Member(Json.Member(json, "session"), "id");
                if (resume.StartsWith("{")) { token = Json.Member(resume, "token"); keptS = Json.Number(resume, "timeout_s"); }
                if (lastSeq != "")
                {
                    Counts.Resumed++;
                    hasFrame = frame != null && seq > long.Parse(lastSeq);  // the lost connection swallowed it
                    if (resetting != null) { outbox.Clear(); outbox.Enqueue(resetting); hasFrame = false; }
                }
                socket = fresh;
                sinceNs = heardNs = NowNs();
                isDown = false;
            }
            changed.Release();
        }

        async Task Read()
        {
            while (!isClosed)
            {
                Tuple<WebSocketMessageType, byte[]> message = null;
                string wrong = null;
                try { message = await Receive(socket, CancellationToken.None).ConfigureAwait(false); } catch (Exception error) when (IsLoss(error)) { }
                heardNs = NowNs();
                try
                {
                    if (message != null && message.Item1 == WebSocketMessageType.Binary) wrong = Answer(message.Item2);
                    if (message != null && message.Item1 == WebSocketMessageType.Text) Hear(Encoding.UTF8.GetString(message.Item2));
                }
                catch (SystemException) { wrong = OtherVersion; }  // nothing of a server of ours is out of range
                if (wrong != null) End("lost", wrong);
                if (message == null && !isClosed && !await Resume().ConfigureAwait(false)) return;
            }
        }

        static bool IsLoss(Exception error)  // ObjectDisposedException is an InvalidOperationException
        {
            return error is WebSocketException || error is OperationCanceledException || error is IOException ||
                error is InvalidOperationException || error is SocketException;
        }

        static async Task<Tuple<WebSocketMessageType, byte[]>> Receive(ClientWebSocket socket, CancellationToken cancel)  // null: it ended
        {
            var part = new ArraySegment<byte>(new byte[16384]);
            using (var whole = new MemoryStream())
            {
                while (true)
                {
                    var got = await socket.ReceiveAsync(part, cancel).ConfigureAwait(false);
                    if (got.MessageType == WebSocketMessageType.Close || whole.Length > 1 << 20) return null;
                    whole.Write(part.Array, 0, got.Count);
                    if (got.EndOfMessage) return Tuple.Create(got.MessageType, whole.ToArray());
                }
            }
        }

        async Task<bool> Resume()
        {
            var words = goodbye ?? "the connection to the server is lost";
            var canResume = goodbye == null && token != null && options.ResumeS > 0;
            lock (gate)
            {
                isDown = true; held = null; hasFrame = false; Counts.Lost++;
                if (canResume) Queue("down", words + ": every key is up; trying again");
            }
            socket.Abort();
            var watch = Stopwatch.StartNew();
            for (var delayMs = 50; canResume && !isClosed; delayMs = Math.Min(2000, 2 * delayMs))
            {
                if (watch.Elapsed.TotalSeconds > Math.Min(options.ResumeS, keptS)) break;
                var wanted = "\"session_id\": \"" + id + "\", \"token\": \"" + token + "\", \"answered_seq\": " + newestSeq;
                words = await Connect("{\"type\": \"session.resume\", " + wanted + "}").ConfigureAwait(false);
                if (words == null) { Tell("resumed", "connected again"); return true; }
                if (isRefused) break;
                await Task.Delay(delayMs).ConfigureAwait(false);
            }
            End("lost", words + "; the session is gone: start a new one");
            return false;
        }

        async Task Write()
        {
            while (!isClosed)
            {
                await changed.WaitAsync().ConfigureAwait(false);
                var events = new List<string>();
                byte[] newest = null;
                ClientWebSocket to;
                lock (gate)
                {
                    if (isDown || isClosed) continue;
                    while (outbox.Count > 0) events.Add(outbox.Dequeue());
                    if (hasFrame) { newest = frame; Counts.Sent++; }
                    hasFrame = false;
                    to = socket;
                }
                try
                {
                    foreach (var json in events) await Send(to, Bytes(json), WebSocketMessageType.Text).ConfigureAwait(false);
                    if (newest != null) await Send(to, new ArraySegment<byte>(newest), WebSocketMessageType.Binary).ConfigureAwait(false);
                }
                catch (Exception error) when (IsLoss(error)) { }  // the reader sees it too
            }
            using (var patience = new CancellationTokenSource(1000))
            {
                try
                {
                    await socket.SendAsync(Bytes("{\"type\": \"session.close\"}"), WebSocketMessageType.Text, true, patience.Token).ConfigureAwait(false);
                    await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, "", patience.Token).ConfigureAwait(false);
                }
                catch (Exception error) when (IsLoss(error)) { }
            }
        }

        static Task Send(ClientWebSocket to, ArraySegment<byte> bytes, WebSocketMessageType type)
        {
            return to.SendAsync(bytes, type, true, CancellationToken.None);
        }

        static ArraySegment<byte> Bytes(string text) { return new ArraySegment<byte>(Encoding.UTF8.GetBytes(text)); }

        void End(string kind, string words)
        {
            lock (gate) { if (!isClosed) Queue(kind, words); isClosed = true; held = null; }
            changed.Release();
        }
    }

    public static class Image
    {
        /// <summary>The exact area average of gi_model.frames.resize, bit for bit: pixels of any size to RGB, written at `at`.</summary>
        public static void Resize(byte[] pixels, int width, int height, Pixels format, bool isFlipped, byte[] to, int at, int toWidth, int toHeight)
        {
            long stepX, stepY;
            var across = Bands(width, toWidth, out stepX);
            var down = Bands(height, toHeight, out stepY);
            var stride = format == Pixels.Rgb ? 3 : 4;
            var sums = new long[width * stride];
            foreach (var rows in down)
            {
                Array.Clear(sums, 0, sums.Length);
                foreach (var row in rows)
                {
                    var from = (isFlipped ? height - 1 - row.Key : row.Key) * width * stride;
                    for (var i = 0; i < sums.Length; i++) sums[i] += row.Value * pixels[from + i];
                }
                foreach (var columns in across)
                    for (var colour = 0; colour < 3; colour++)
                    {
                        var sum = stepX * stepY / 2;
                        foreach (var column in columns) sum += column.Value * sums[column.Key * stride + (format == Pixels.Bgra ? 2 - colour : colour)];
                        to[at++] = (byte)(sum / (stepX * stepY));
                    }
            }
        }

        static KeyValuePair<int, long>[][] Bands(int from, int to, out long step)  // inputs and weights of each output
        {
            int divisor = from, rest = to;
            while (rest != 0) { var next = divisor % rest; divisor = rest; rest = next; }
            long unit = to / divisor;
            step = from / divisor;
            var all = new KeyValuePair<int, long>[to][];
            for (var i = 0; i < to; i++)
            {
                var one = new List<KeyValuePair<int, long>>();
                for (long begin = i * step, j = begin / unit; j * unit < begin + step; j++)
                    one.Add(new KeyValuePair<int, long>((int)j, Math.Min(begin + step, (j + 1) * unit) - Math.Max(begin, j * unit)));
                all[i] = one.ToArray();
            }
            return all;
        }
    }

    static class Controls
    {
        const string Others = "ArrowUp ArrowDown ArrowLeft ArrowRight Space Enter Tab Escape Backspace CapsLock ShiftLeft ShiftRight ControlLeft " +
            "ControlRight AltLeft AltRight MetaLeft MetaRight Backquote Minus Equal BracketLeft BracketRight Backslash Semicolon Quote Comma " +
            "Period Slash IntlBackslash IntlRo IntlYen ContextMenu Insert Delete Home End PageUp PageDown PrintScreen ScrollLock Pause NumLock " +
            "NumpadDivide NumpadMultiply NumpadSubtract NumpadAdd NumpadEnter NumpadDecimal";
        static readonly string[] OtherKeys = Others.Split(' ');

        static string KeyName(int id)
        {
            if (id <= 26) return "Key" + (char)('A' + id - 1);
            if (id <= 36) return "Digit" + (id - 27);
            if (id <= 48) return "F" + (id - 36);
            return id <= 97 ? OtherKeys[id - 49] : "Numpad" + (id - 98);
        }

        public static State Read(byte[] data, int at)
        {
            var state = new State
            {
                Buttons = (MouseButtons)data[at + 1], HasGamepad = (data[at] & 1) == 1, GamepadButtons = BitConverter.ToUInt32(data, at + 20),
                MotionX = BitConverter.ToInt16(data, at + 12), MotionY = BitConverter.ToInt16(data, at + 14),
                WheelX = BitConverter.ToInt16(data, at + 16), WheelY = BitConverter.ToInt16(data, at + 18),
            };
            for (var i = 0; i < data[at + 2]; i++) state.Keys.Add(KeyName(data[at + 4 + i]));
            for (var i = 0; i < 4; i++) state.Axes[i] = BitConverter.ToSingle(data, at + 24 + 4 * i);
            for (var i = 0; i < 2; i++) state.Triggers[i] = BitConverter.ToSingle(data, at + 40 + 4 * i);
            return state;
        }

        public static bool ReadCommands(byte[] data, State[] states)  // behind states, tokens, probabilities
        {
            var at = 36 + states.Length * (48 + 2 * BitConverter.ToUInt16(data, 32) + 4 * data[35]);
            var count = at < data.Length ? data[at] : 0;
            if (data.Length < at + 1 + 4 * states.Length * count) return false;
            for (var i = 0; i < states.Length; i++)
            {
                states[i].Commands = new float[count];
                for (var j = 0; j < count; j++) states[i].Commands[j] = BitConverter.ToSingle(data, at + 1 + 4 * (i * count + j));
            }
            return true;
        }
    }

    static class Json
    {
        /// <summary>Member `name` of an object: the content of a string, the text of anything else; "": there is none.</summary>
        public static string Member(string json, string name)
        {
            int depth = 0, value = -1;
            for (var at = 0; at < json.Length; at++)
            {
                var c = json[at];
                if (value >= 0 && depth == 1 && (c == ',' || c == '}')) return json.Substring(value, at - value);
                depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
                if (c != '"') continue;
                var begin = at + 1;
                for (at++; at < json.Length && json[at] != '"'; at++) if (json[at] == '\\') at++;
                if (at >= json.Length) return "";
                if (value == begin - 1) return json.Substring(begin, at - begin);
                var colon = at + 1;
                while (colon < json.Length && json[colon] == ' ') colon++;
                if (value >= 0 || depth != 1 || colon >= json.Length || json[colon] != ':' || json.Substring(begin, at - begin) != name) continue;
                for (value = (at = colon) + 1; value < json.Length && json[value] == ' ';) value++;
            }
            return "";
        }

        public static double Number(string json, string name)
        {
            return double.Parse(Member(json, name), System.Globalization.CultureInfo.InvariantCulture);
        }
    }
}
