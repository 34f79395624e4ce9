import java.io.File;
import java.io.IOException;
import org.eclipse.jetty.server.AbstractNetworkConnector;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import software.amazon.dynamodb.services.local.main.ServerRunner;
import software.amazon.dynamodb.services.local.server.DynamoDBProxyServer;

/**
 * Starts DynamoDB Local as its own main() does, with three differences: it listens on 127.0.0.1 only (it has no flag for
 * that), on a port that the system chooses and that is printed once requests are served, and it ends when its standard
 * input ends, so that it cannot outlive the process that started it. Then it removes what it unpacked for itself.
 */
public class DdbLoopback {
    public static void main(String[] args) throws Exception {
        DynamoDBProxyServer proxy = ServerRunner.createServerFromCommandLineArgs(args);
        ServerConnector listener = null;
        for (var field : DynamoDBProxyServer.class.getDeclaredFields()) {
            if (!Server.class.isAssignableFrom(field.getType())) continue;
            field.setAccessible(true);
            for (Connector connector : ((Server) field.get(proxy)).getConnectors()) {
                ((AbstractNetworkConnector) connector).setHost("127.0.0.1");
                ((AbstractNetworkConnector) connector).setPort(0);
                if (connector instanceof ServerConnector found) listener = found;
            }
        }
        if (listener == null) throw new IllegalStateException("this DynamoDB Local has no connector to bind to loopback");
        endWithStandardInput();
        proxy.start();
        System.out.println("LISTENING " + listener.getLocalPort());
        System.out.flush();
        proxy.join();
    }

    private static void endWithStandardInput() {
        Thread watch = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {}
            } catch (IOException broken) {
                // as good as the end of it
            }
            removeScratch();
            Runtime.getRuntime().halt(0);
        }, "parent-watch");
        watch.setDaemon(true);
        watch.start();
    }

    /** Removes the folder for temporary files if it is one of our own: who made it may be gone. */
    private static void removeScratch() {
        File scratch = new File(System.getProperty("java.io.tmpdir"));
        if (!scratch.getName().startsWith("onewrite-dynamodb-")) return;
        File[] files = scratch.listFiles();
        if (files != null) for (File file : files) file.delete();
        scratch.delete();
    }
}
